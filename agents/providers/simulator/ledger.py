"""The outside world's append-only ledger: what really happened, for an auditor who trusts nobody.

One entry is one state change, or one answer that changed nothing but was given under a key. A line
of the ledger file is the JSON of an entry without its empty fields. The kinds:

    payment.created       an intent of `amount`, unconfirmed    facts: token
    payment.authorized    `amount` is held                      payment.declined  facts: reason
    payment.captured      `amount` is charged                   payment.capture_refused  facts: …
    payment.voided        `amount` is no longer held (0 if nothing was), the intent is dead
    payment.refunded      `amount` is given back
    stock.initial         `lines` at the birth of warehouse `place`
    stock.received        `lines` came in                       stock.rejected    facts: reason
    stock.reserved        `lines` in warehouse `place`          stock.released    the same lines
    stock.fence_raised    a newer worker repeated a call        stock.tombstone   released bare
    label.created         at carrier `place`                    label.refused     facts: reason
    label.cancelled       label.tombstone   cancelled bare: there was none, and none will be
    message.accepted      on channel `place`                    facts: target, outcome
    *.answered            an answer was given under the key, and nothing changed

`balance(entries)` computes from the ledger alone where money, stock, labels and messages stand,
and says in sentences what should never have happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    seq: int
    """1, 2, 3, … without a hole."""
    at_ms: int
    kind: str
    operation: str
    """The call that caused it, such as `payments.capture`; its key belongs to this operation."""
    order_id: str = ""
    key: str = ""
    """The effect key that the caller gave."""
    fingerprint: str = ""
    """Of the parameters; another one under the same key is a mismatch."""
    attempt: int = 0
    """The caller's logical attempt."""
    object_id: str = ""
    place: str = ""
    """Warehouse, carrier or channel."""
    amount: int = 0
    """Minor units of `currency`."""
    currency: str = ""
    lines: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    """Quantities by SKU."""
    facts: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    def to_line(self) -> bytes:
        """The entry as one line of NDJSON, newline included."""
        known = {name: getattr(self, name) for name in _FIELDS}
        full = {k: dict(v) if isinstance(v, Mapping) else v for k, v in known.items() if v}
        return json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_FIELDS = tuple(Entry.__dataclass_fields__)


def parse_line(line: bytes) -> Entry:
    """The entry of one line. Raises ValueError if it is none; unknown fields are refused."""
    try:
        return Entry(**json.loads(line))
    except (TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a ledger entry: {error}") from error


@dataclass(slots=True)
class OrderBalance:
    """Where one order stands at the providers."""

    authorised: int = 0
    captured: int = 0
    voided: int = 0
    """What was held and given up; an intent cancelled before it held anything counts 0."""
    refunded: int = 0
    held: int = 0
    """Authorised, and neither captured nor voided."""
    payments: int = 0
    """Intents ever created."""
    live_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """References of the labels alive, by carrier."""
    live_reservations: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """What the shop has of the customer's money."""
        return self.captured - self.refunded

    @property
    def labels(self) -> int:
        """Number of labels alive."""
        return sum(len(references) for references in self.live_labels.values())


@dataclass(slots=True)
class StockBalance:
    """Where one SKU stands in one warehouse."""

    initial: int = 0
    received: int = 0
    reserved: int = 0

    @property
    def available(self) -> int:
        """On the shelf and promised to nobody."""
        return self.initial + self.received - self.reserved


@dataclass(frozen=True, slots=True)
class Balance:
    """What the ledger adds up to."""

    orders: Mapping[str, OrderBalance]
    stock: Mapping[tuple[str, str], StockBalance]
    """By warehouse and SKU."""
    messages: Mapping[tuple[str, str], int]
    """Times accepted, by target and key."""
    entries: int
    violations: tuple[str, ...]
    """What should never have happened, in sentences."""


def balance(entries: Iterable[Entry]) -> Balance:
    """Add up a whole ledger, from its first entry on."""
    sums = _Sums()
    for entry in entries:
        sums.add(entry)
    return sums.balance()


class _Sums:
    """The running sums; one pass over the ledger, so that a long one need not fit in memory."""

    def __init__(self) -> None:
        self._orders: dict[str, OrderBalance] = {}
        self._stock: dict[tuple[str, str], StockBalance] = {}
        self._messages: dict[tuple[str, str], int] = {}
        self._held: dict[str, int] = {}
        self._captured: dict[str, int] = {}
        self._refunded: dict[str, int] = {}
        self._reservations: dict[str, tuple[str, Mapping[str, int]]] = {}
        self._violations: list[str] = []
        self._seq = 0

    def add(self, entry: Entry) -> None:
        if entry.seq != self._seq + 1:
            self._complain(entry, f"follows entry {self._seq}; the ledger has a hole")
        self._seq = entry.seq
        family = entry.kind.partition(".")[0]
        match family:
            case "payment":
                self._add_payment(entry)
            case "stock":
                self._add_stock(entry)
            case "label":
                self._add_label(entry)
            case "message":
                self._add_message(entry)
            case _:
                self._complain(entry, f"has the unknown kind {entry.kind}")

    def balance(self) -> Balance:
        for order_id, order in self._orders.items():
            if order.labels > 1:
                where = ", ".join(sorted(c for c, refs in order.live_labels.items() if refs))
                self._violations.append(
                    f"order {order_id} ends with {order.labels} live labels, at {where}"
                )
        return Balance(
            self._orders, self._stock, self._messages, self._seq, tuple(self._violations)
        )

    def _add_payment(self, entry: Entry) -> None:
        order = self._order(entry)
        held = self._held.get(entry.object_id, 0)
        match entry.kind:
            case "payment.created":
                order.payments += 1
            case "payment.authorized":
                if order.held or order.kept:
                    self._complain(entry, "holds money although another payment already does")
                order.authorised += entry.amount
                self._held[entry.object_id] = held + entry.amount
            case "payment.captured":
                if entry.amount > held:
                    self._complain(entry, f"captures {entry.amount}, but only {held} is held")
                order.captured += entry.amount
                self._held[entry.object_id] = held - entry.amount
                captured = self._captured.get(entry.object_id, 0)
                self._captured[entry.object_id] = captured + entry.amount
            case "payment.voided":
                if entry.amount > held:
                    self._complain(entry, f"voids {entry.amount}, but only {held} is held")
                order.voided += entry.amount
                self._held[entry.object_id] = held - entry.amount
            case "payment.refunded":
                self._refund(entry, order)
        order.held = order.authorised - order.captured - order.voided

    def _refund(self, entry: Entry, order: OrderBalance) -> None:
        refunded = self._refunded.get(entry.object_id, 0) + entry.amount
        captured = self._captured.get(entry.object_id, 0)
        if refunded > captured:
            self._complain(entry, f"brings refunds to {refunded}, but {captured} was captured")
        self._refunded[entry.object_id] = refunded
        order.refunded += entry.amount

    def _add_stock(self, entry: Entry) -> None:
        match entry.kind:
            case "stock.initial":
                for sku, quantity in entry.lines.items():
                    self._shelf(entry.place, sku).initial += quantity
            case "stock.received":
                for sku, quantity in entry.lines.items():
                    self._shelf(entry.place, sku).received += quantity
            case "stock.reserved":
                self._reserve(entry)
            case "stock.released":
                self._release(entry)

    def _reserve(self, entry: Entry) -> None:
        order = self._order(entry)
        if entry.object_id in self._reservations:
            self._complain(entry, f"reserves {entry.object_id} a second time")
        self._reservations[entry.object_id] = (entry.place, entry.lines)
        order.live_reservations = (*order.live_reservations, entry.object_id)
        for sku, quantity in entry.lines.items():
            shelf = self._shelf(entry.place, sku)
            shelf.reserved += quantity
            if shelf.available < 0:
                self._complain(
                    entry, f"leaves {shelf.available} of {sku} in {entry.place}: oversold"
                )

    def _release(self, entry: Entry) -> None:
        order = self._order(entry)
        place, lines = self._reservations.pop(entry.object_id, ("", _NOTHING))
        if (place, dict(lines)) != (entry.place, dict(entry.lines)):
            self._complain(entry, f"releases {entry.object_id}, which does not hold these lines")
        order.live_reservations = tuple(
            held for held in order.live_reservations if held != entry.object_id
        )
        for sku, quantity in entry.lines.items():
            shelf = self._shelf(entry.place, sku)
            shelf.reserved -= quantity
            if shelf.reserved < 0:
                self._complain(entry, f"releases more of {sku} in {entry.place} than is reserved")

    def _add_label(self, entry: Entry) -> None:
        order = self._order(entry)
        live = order.live_labels.get(entry.place, ())
        match entry.kind:
            case "label.created":
                order.live_labels[entry.place] = (*live, entry.object_id)
            case "label.cancelled":
                order.live_labels[entry.place] = tuple(r for r in live if r != entry.object_id)

    def _add_message(self, entry: Entry) -> None:
        if entry.kind != "message.accepted":
            return
        name = (entry.facts.get("target", ""), entry.key)
        self._messages[name] = self._messages.get(name, 0) + 1
        if self._messages[name] > 1:
            self._complain(entry, f"tells {name[0]} under the key {name[1]} again")

    def _order(self, entry: Entry) -> OrderBalance:
        return self._orders.setdefault(entry.order_id, OrderBalance())

    def _shelf(self, warehouse: str, sku: str) -> StockBalance:
        return self._stock.setdefault((warehouse, sku), StockBalance())

    def _complain(self, entry: Entry, what: str) -> None:
        self._violations.append(f"entry {entry.seq} of order {entry.order_id or '-'} {what}")
