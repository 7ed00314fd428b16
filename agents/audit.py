"""The audit: log and providers' ledger tell the same story, to the last cent.

It reads all topics and the providers' own ledger, and no agent's state. For each order it asks
whether what the providers hold is what the order's end demands (invariants I1 to I8, I12, I15 of
the reliability contract), and for all of them whether money and stock are conserved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agents.kernel import codec
from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Record
from agents.kernel.topics import Topics
from agents.letters import OpenLetters
from agents.providers.simulator.ledger import Balance, OrderBalance
from schemas.events import EVENTS
from schemas.saga import SagaStatus, status_of


@dataclass(slots=True)
class OrderStory:
    """What the log says of one order."""

    order_id: str
    events: set[str] = field(default_factory=set)
    bodies: dict[str, str] = field(default_factory=dict)
    """Hash of the body by event id."""
    total: int = 0
    currency: str = ""
    letters_open: int = 0

    @property
    def status(self) -> SagaStatus:
        """The saga's status."""
        return status_of(self.events)

    @property
    def is_saga(self) -> bool:
        """Whether an order was ever accepted under this id."""
        return bool(self.events - {"OrderRejected"})


@dataclass(slots=True)
class Sums:
    """What the providers charged, gave back and hold, in minor units of one currency."""

    captured: int = 0
    refunded: int = 0
    held: int = 0

    @property
    def kept(self) -> int:
        """What the shop has."""
        return self.captured - self.refunded


@dataclass(slots=True)
class Report:
    """What the audit found."""

    completed: int = 0
    failed: int = 0
    waiting_for_person: int = 0
    in_flight: int = 0
    rejected: int = 0
    money: dict[str, Sums] = field(default_factory=dict)
    """By currency; amounts of two currencies have no sum."""
    letters_open: int = 0
    """Those of records that nobody can read included."""
    findings: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def audit(records: Iterable[Record], balance: Balance, topics: Topics) -> Report:
    """Compare every order's story with the providers' ledger."""
    report = Report(findings=list(balance.violations))
    stories = _stories(records, topics, report)
    for order_id in balance.orders:
        if order_id and order_id not in stories:
            report.findings.append(f"{order_id}: the providers know it, the log does not")
    for story in stories.values():
        held = balance.orders.get(story.order_id, OrderBalance())
        _count(story, held, report)
        report.findings.extend(f"{story.order_id}: {text}" for text in _faults(story, held))
    for (target, key), times in balance.messages.items():
        if times > 1:
            report.findings.append(f"{target}: told {times} times under one key {key}")
    return report


def _stories(records: Iterable[Record], topics: Topics, report: Report) -> dict[str, OrderStory]:
    stories: dict[str, OrderStory] = {}
    letters = OpenLetters()
    for record in records:
        if record.topic in (topics.letters, topics.decisions):
            letters.read(record, topics)
            continue
        if record.topic == topics.inbox:
            continue
        try:
            name, _ = codec.type_of(record)
            trigger = codec.decode(record) if name in EVENTS else None
        except PoisonRecord:
            continue  # It stands in the dead letters; that is where it is judged.
        if trigger is None:
            continue
        story = stories.setdefault(trigger.order_id, OrderStory(trigger.order_id))
        story.events.add(name)
        letters.saw(trigger.order_id, name)
        _same_body(story, trigger.id, trigger.body_hash, report)
        if name == "OrderPlaced":
            total = trigger.event.order.total
            story.total, story.currency = total.amount, total.currency
    report.letters_open = len(letters.open())
    for order_id, count in letters.by_order().items():
        stories.setdefault(order_id, OrderStory(order_id)).letters_open = count
    return stories


def _same_body(story: OrderStory, event_id: str, body: str, report: Report) -> None:
    if story.bodies.setdefault(event_id, body) != body:
        report.findings.append(f"{story.order_id}: event {event_id} has two different bodies")


def _count(story: OrderStory, held: OrderBalance, report: Report) -> None:
    if story.currency:
        sums = report.money.setdefault(story.currency, Sums())
        sums.captured += held.captured
        sums.refunded += held.refunded
        sums.held += held.held
    if not story.is_saga:
        report.rejected += 1
    elif story.status is SagaStatus.COMPLETED:
        report.completed += 1
    elif story.status is SagaStatus.FAILED:
        report.failed += 1
    elif story.letters_open:
        report.waiting_for_person += 1
    else:
        report.in_flight += 1


def _faults(story: OrderStory, held: OrderBalance) -> list[str]:
    faults = []
    if held.payments > 1:
        faults.append(f"{held.payments} payments were created for one order")
    if held.labels > 1 and story.status.terminal and not story.letters_open:
        faults.append(f"{held.labels} labels are alive")
    if story.events & {"PaymentCaptured"} and story.events & {
        "PaymentVoided",
        "PaymentRefunded",
        "PaymentDeclined",
    }:
        faults.append("both a completed and a failed end were reported")
    if story.status is SagaStatus.COMPLETED:
        faults.extend(_faults_of_completed(story, held))
    elif story.status is SagaStatus.FAILED and not story.letters_open:
        faults.extend(_faults_of_failed(held))
    elif held.kept and "ShipmentLabelled" not in story.events:
        faults.append(f"{held.kept} is charged, but no label was ever reported")
    return faults


def _faults_of_completed(story: OrderStory, held: OrderBalance) -> list[str]:
    faults = []
    if held.kept != story.total:
        faults.append(f"completed, total {story.total}, but {held.kept} is charged")
    if held.labels == 0:
        faults.append("completed without a live label")
    if len(held.live_reservations) != 1:
        faults.append(f"completed with {len(held.live_reservations)} reservations")
    return faults


def _faults_of_failed(held: OrderBalance) -> list[str]:
    faults = []
    if held.held:
        faults.append(f"failed, but {held.held} is still held on the card")
    if held.kept:
        faults.append(f"failed, but {held.kept} is charged and not refunded")
    if held.live_reservations:
        faults.append("failed, but stock is still reserved")
    if held.labels:
        faults.append("failed, but a label is still alive")
    return faults
