"""The warehouses: stock is reserved atomically, never oversold, and released once.

An order's lines come from one warehouse, the first in the order of preference that has them all.
A refusal is remembered under the reservation id. Releasing an id that was never reserved leaves a
tombstone, so that a late reserve of it finds it released. Every call carries a fence; one that is
lower than a fence seen before for the same reservation comes from a worker that has lost its step.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agents.kernel.chaos import Place
from agents.kernel.errors import LeaseLost, ParameterMismatch, TerminalFault
from agents.kernel.ports import Effect
from agents.ports import Reservation, ReservationStatus
from agents.providers.simulator.desk import Answered, Call, Decision, Desk, NotFound
from agents.providers.simulator.idempotency import fingerprint
from agents.providers.simulator.ledger import Entry
from agents.providers.simulator.scenarios import Circumstance
from agents.providers.simulator.stock import Shelves

SERVICE = "warehouses"

_FENCE = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Demand:
    """What the warehouses are told of an order."""

    lines: tuple[tuple[str, int], ...]
    """SKU and quantity of each line."""
    token: str = ""

    def by_sku(self) -> dict[str, int]:
        """Quantities by SKU; two lines of one SKU add up. Raises TerminalFault."""
        total: Counter[str] = Counter()
        for sku, quantity in self.lines:
            if quantity < 1:
                raise TerminalFault(f"{quantity} of {sku}: a quantity must be 1 or more")
            total[sku] += quantity
        if not total:
            raise TerminalFault("a reservation needs at least one line")
        return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True)
class _Held:
    reservation: Reservation
    token: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    fence: tuple[int, int] = (0, 0)


class WarehouseRules:
    """All reservations."""

    def __init__(self, desk: Desk, shelves: Shelves) -> None:
        self._desk = desk
        self._shelves = shelves
        self._held: dict[str, _Held] = {}

    def reserve(self, effect: Effect, reservation_id: str, demand: Demand) -> Answered[Reservation]:
        """Reserve all lines or none."""
        self._check_fence(effect, reservation_id)
        lines = demand.by_sku()
        circumstance = Circumstance(
            Place.RESERVE, effect.order_id, effect.attempt, token=demand.token
        )
        print_ = fingerprint(reservation_id, tuple(lines.items()))
        call = Call(f"{SERVICE}.reserve", effect, print_, circumstance)

        def decide() -> Decision:
            facts = {"fence": effect.fence, "token": demand.token}
            return self._decide_reserve(reservation_id, lines, facts, circumstance)

        return self._up_to_date(self._desk.once(self, call, decide), effect)

    def release(self, effect: Effect, reservation_id: str) -> Answered[Reservation]:
        """Give the stock back, or leave a tombstone."""
        self._check_fence(effect, reservation_id)
        held = self._held.get(reservation_id)
        token = held.token if held else ""
        circumstance = Circumstance(Place.RELEASE, effect.order_id, effect.attempt, token=token)
        call = Call(f"{SERVICE}.release", effect, fingerprint(reservation_id), circumstance)

        def decide() -> Decision:
            return self._decide_release(reservation_id, {"fence": effect.fence})

        return self._up_to_date(self._desk.once(self, call, decide), effect)

    def read(self, reservation_id: str) -> Reservation:
        """The reservation as it is now. Raises NotFound."""
        held = self._held.get(reservation_id)
        if held is None:
            raise NotFound(f"no reservation {reservation_id}; reserve it first")
        return held.reservation

    def fold(self, entry: Entry) -> Reservation:
        """Change stock and reservation as the entry says."""
        if entry.kind == "stock.reserved":
            self._shelves.move(entry.place, entry.lines, 1)
        elif entry.kind == "stock.released":
            self._shelves.move(entry.place, entry.lines, -1)
        before = self._held.get(entry.object_id)
        fence = parse_fence(entry.facts["fence"])
        if before is not None:
            fence = max(fence, before.fence)
        moved = _moved(before, entry)
        held = _Held(moved.reservation, moved.token, moved.lines, fence)
        self._held[entry.object_id] = held
        return held.reservation

    def _decide_reserve(
        self,
        name: str,
        lines: Mapping[str, int],
        facts: Mapping[str, str],
        circumstance: Circumstance,
    ) -> Decision:
        held = self._held.get(name)
        if held is not None:
            if held.reservation.status is ReservationStatus.RESERVED and held.lines != lines:
                raise ParameterMismatch(f"reservation {name} holds other lines; release it first")
            return Decision("stock.answered", name, facts=facts)
        reason = self._desk.scenarios.refusal(circumstance)
        warehouse = "" if reason else self._shelves.first_with(lines)
        if warehouse:
            return Decision("stock.reserved", name, warehouse, lines=lines, facts=facts)
        reason = reason or self._shelves.shortage(lines)
        return Decision("stock.rejected", name, facts={**facts, "reason": reason})

    def _decide_release(self, name: str, facts: Mapping[str, str]) -> Decision:
        held = self._held.get(name)
        if held is None or held.reservation.status is ReservationStatus.REJECTED:
            return Decision("stock.tombstone", name, facts=facts)
        if held.reservation.status is ReservationStatus.RELEASED:
            return Decision("stock.answered", name, facts=facts)
        place = held.reservation.warehouse
        return Decision("stock.released", name, place, lines=held.lines, facts=facts)

    def _check_fence(self, effect: Effect, reservation_id: str) -> None:
        fence = parse_fence(effect.fence)
        held = self._held.get(reservation_id)
        if held is not None and fence < held.fence:
            epoch, number = held.fence
            raise LeaseLost(
                f"fenced: reservation {reservation_id} has seen fence {epoch}.{number}, "
                f"yours is {effect.fence}; another worker has this step"
            )

    def _up_to_date(self, answered: Answered[Reservation], effect: Effect) -> Answered[Reservation]:
        if not answered.replayed:
            return answered
        name = answered.first.id
        if parse_fence(effect.fence) > self._held[name].fence:
            raised = Decision("stock.fence_raised", name, facts={"fence": effect.fence})
            self._desk.note(self, f"{SERVICE}.fence", raised, effect.order_id)
        return replace(answered, present=self.read(name))


def parse_fence(text: str) -> tuple[int, int]:
    """Epoch and number of a fence. Raises TerminalFault."""
    match = _FENCE.fullmatch(text)
    if match is None:
        raise TerminalFault(f"fence {text[:40]!r} is not `epoch.number`")
    return int(match[1]), int(match[2])


def _moved(held: _Held | None, entry: Entry) -> _Held:
    name = entry.object_id
    match entry.kind:
        case "stock.reserved":
            reserved = Reservation(name, ReservationStatus.RESERVED, entry.place)
            return _Held(reserved, entry.facts.get("token", ""), dict(entry.lines))
        case "stock.rejected":
            reason = entry.facts.get("reason", "")
            rejected = Reservation(name, ReservationStatus.REJECTED, reason=reason)
            return _Held(rejected, entry.facts.get("token", ""))
        case "stock.released" | "stock.tombstone":
            place = entry.place
            released = Reservation(name, ReservationStatus.RELEASED, place)
            return replace(held, reservation=released) if held else _Held(released)
        case _:
            assert held is not None, f"{entry.kind} of {name}, which nobody has asked for"
            return held
