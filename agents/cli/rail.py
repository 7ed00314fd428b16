"""The six stages of an order, from the event types seen of it; drawn as one line.

A state is always a word and a shape, and on a terminal also a colour.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

STAGES = ("Gateway", "Payment", "Inventory", "Shipping", "Notify", "Complete")

WAITING, WORKING, OK, FAILED, UNDONE = "waiting", "working", "ok", "failed", "undone"
_SHAPES = {WAITING: "○", WORKING: "◐", OK: "●", FAILED: "✕", UNDONE: "↺"}
_COLOURS = {WAITING: "2", WORKING: "33", OK: "32", FAILED: "31", UNDONE: "36"}


@dataclass(frozen=True, slots=True)
class _Stage:
    begins: tuple[str, ...]
    done: tuple[str, ...]
    failed: tuple[str, ...]
    undone: tuple[str, ...]


_BY_STAGE = {
    "Gateway": _Stage((), ("OrderPlaced",), ("OrderRejected",), ()),
    "Payment": _Stage(
        ("OrderPlaced",),
        ("PaymentAuthorized",),
        ("PaymentDeclined",),
        ("PaymentVoided", "PaymentRefunded"),
    ),
    "Inventory": _Stage(
        ("PaymentAuthorized",), ("StockReserved",), ("StockRejected",), ("StockReleased",)
    ),
    "Shipping": _Stage(
        ("StockReserved",), ("ShipmentLabelled",), ("ShipmentFailed",), ("ShipmentCancelled",)
    ),
    "Notify": _Stage(
        ("PaymentCaptured", "PaymentDeclined", "PaymentVoided", "PaymentRefunded"),
        ("Notified",),
        (),
        (),
    ),
    "Complete": _Stage(
        ("ShipmentLabelled",),
        ("PaymentCaptured",),
        ("OrderRejected", "PaymentDeclined", "PaymentVoided", "PaymentRefunded"),
        (),
    ),
}


def stages(seen: AbstractSet[str]) -> dict[str, str]:
    """The state of each stage, in their order."""
    return {name: _state(_BY_STAGE[name], seen) for name in STAGES}


def _state(stage: _Stage, seen: AbstractSet[str]) -> str:
    for state, events in ((UNDONE, stage.undone), (FAILED, stage.failed), (OK, stage.done)):
        if seen & set(events):
            return state
    return WORKING if seen & set(stage.begins) else WAITING


def draw(seen: AbstractSet[str], *, colour: bool) -> str:
    """The rail as one line."""
    return "  ".join(_drawn(name, state, colour=colour) for name, state in stages(seen).items())


def _drawn(name: str, state: str, *, colour: bool) -> str:
    text = f"{_SHAPES[state]} {name} {state}"
    return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if colour else text
