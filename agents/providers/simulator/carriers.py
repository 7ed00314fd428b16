"""A carrier: labels by the caller's reference, made once and cancelled once.

The reference is a second key that never expires: whatever the idempotency key, a reference has one
label at a carrier at most. Cancelling a reference that has none leaves a tombstone, so that a late
label call finds it cancelled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from agents.kernel.chaos import Place
from agents.kernel.errors import ParameterMismatch
from agents.kernel.ports import Effect
from agents.ports import Label, LabelStatus
from agents.providers.simulator.desk import Answered, Call, Decision, Desk, NotFound
from agents.providers.simulator.idempotency import fingerprint
from agents.providers.simulator.ledger import Entry
from agents.providers.simulator.scenarios import FEDEX, UPS, Circumstance

CARRIERS = (FEDEX, UPS)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a carrier is told of an order."""

    postcode: str
    country: str
    token: str = ""
    """Travels as metadata, for chaos only."""


@dataclass(frozen=True, slots=True)
class _Shipment:
    label: Label
    parcel: Parcel


class CarrierRules:
    """All labels of one carrier."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.name = name
        self._desk = desk
        self._shipments: dict[str, _Shipment] = {}

    def label(self, effect: Effect, reference: str, parcel: Parcel) -> Answered[Label]:
        """Make the label, or refuse it."""
        circumstance = self._circumstance(Place.LABEL, effect, parcel)
        print_ = fingerprint(reference, parcel.postcode, parcel.country)
        call = Call(f"{self.name}.label", effect, print_, circumstance)

        def decide() -> Decision:
            return self._decide_label(reference, parcel, circumstance)

        return self._up_to_date(self._desk.once(self, call, decide), reference)

    def cancel(self, effect: Effect, reference: str) -> Answered[Label]:
        """Cancel the label, or leave a tombstone."""
        known = self._shipments.get(reference)
        parcel = known.parcel if known else _NO_PARCEL
        circumstance = self._circumstance(Place.CANCEL, effect, parcel)
        call = Call(f"{self.name}.cancel", effect, fingerprint(reference), circumstance)

        def decide() -> Decision:
            return self._decide_cancel(reference)

        return self._up_to_date(self._desk.once(self, call, decide), reference)

    def read(self, reference: str) -> Label:
        """The label as it is now. Raises NotFound."""
        shipment = self._shipments.get(reference)
        if shipment is None:
            raise NotFound(f"{self.name} has no label {reference}; make it first")
        return shipment.label

    def fold(self, entry: Entry) -> Label:
        """Change the label as the entry says."""
        shipment = _moved(self.name, self._shipments.get(entry.object_id), entry)
        self._shipments[entry.object_id] = shipment
        return shipment.label

    def _decide_label(self, reference: str, parcel: Parcel, circumstance: Circumstance) -> Decision:
        known = self._shipments.get(reference)
        if known is not None:
            same = (known.parcel.postcode, known.parcel.country)
            if known.label.status is LabelStatus.LIVE and same != (
                parcel.postcode,
                parcel.country,
            ):
                raise ParameterMismatch(f"label {reference} goes elsewhere; cancel it first")
            return Decision("label.answered", reference, self.name)
        facts = {
            "postcode": parcel.postcode,
            "country": parcel.country,
            "token": parcel.token,
        }
        reason = self._desk.scenarios.refusal(circumstance)
        if reason:
            facts["reason"] = reason
            return Decision("label.refused", reference, self.name, facts=facts)
        return Decision("label.created", reference, self.name, facts=facts)

    def _decide_cancel(self, reference: str) -> Decision:
        known = self._shipments.get(reference)
        if known is None or known.label.status is LabelStatus.REFUSED:
            return Decision("label.tombstone", reference, self.name)
        if known.label.status is LabelStatus.CANCELLED:
            return Decision("label.answered", reference, self.name)
        return Decision("label.cancelled", reference, self.name)

    def _circumstance(self, place: Place, effect: Effect, parcel: Parcel) -> Circumstance:
        return Circumstance(
            place,
            effect.order_id,
            effect.attempt,
            token=parcel.token,
            postcode=parcel.postcode,
            carrier=self.name,
        )

    def _up_to_date(self, answered: Answered[Label], reference: str) -> Answered[Label]:
        if not answered.replayed:
            return answered
        return replace(answered, present=self.read(reference))


_NO_PARCEL = Parcel("", "")


def _moved(carrier: str, shipment: _Shipment | None, entry: Entry) -> _Shipment:
    reference = entry.object_id
    match entry.kind:
        case "label.created":
            shipment_id, tracking = _numbers(carrier, reference)
            live = Label(carrier, shipment_id, LabelStatus.LIVE, tracking)
            return _Shipment(live, _parcel(entry))
        case "label.refused":
            reason = entry.facts.get("reason", "")
            refused = Label(carrier, "", LabelStatus.REFUSED, reason=reason)
            return _Shipment(refused, _parcel(entry))
        case "label.cancelled" | "label.tombstone":
            if shipment is None:
                return _Shipment(Label(carrier, "", LabelStatus.CANCELLED), _NO_PARCEL)
            cancelled = replace(shipment.label, status=LabelStatus.CANCELLED)
            return replace(shipment, label=cancelled)
        case _:
            assert shipment is not None, f"{entry.kind} of {reference}, which nobody has seen"
            return shipment


def _parcel(entry: Entry) -> Parcel:
    facts = entry.facts
    return Parcel(facts.get("postcode", ""), facts.get("country", ""), facts.get("token", ""))


def _numbers(carrier: str, reference: str) -> tuple[str, str]:
    """Shipment id and tracking number, made from the reference so that a rebuild agrees."""
    digest = hashlib.sha256(f"{carrier}:{reference}".encode()).hexdigest()
    tracking = f"{int(digest[:12], 16) % 10**12:012d}"
    if carrier == UPS:
        tracking = f"1Z{digest[12:28].upper()}"
    return f"shp_{digest[28:44]}", tracking
