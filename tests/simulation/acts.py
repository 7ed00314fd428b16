"""What people do to a running world: cancel an order, decide about a letter."""

from __future__ import annotations

import base64

from agents.kernel import codec
from agents.kernel.ports import Outgoing
from schemas import envelope
from schemas.dead_letter import Action, DeadLetter, OperatorDecision
from schemas.events import OrderCancelRequested
from schemas.order import Order
from tests.simulation.loop import START_MS
from tests.simulation.orders import order_body
from tests.simulation.world import World


def cancel_request(order_id: str, scenario: str) -> Outgoing:
    """The event that the gateway emits when somebody asks to cancel."""
    event = OrderCancelRequested(order=Order.model_validate(order_body(order_id, scenario)))
    stamp = codec.Stamp(
        agent="gateway",
        topic="gateway.events",
        order_id=order_id,
        step="cancel",
        effect_key=f"{order_id}:cancel:1",
        attempt=1,
        now_ms=START_MS,
        cause="cancel",
        saga_deadline_ms=START_MS + 60_000,
        step_deadline_ms=START_MS + 15_000,
        traceparent="",
    )
    return codec.encode(event, stamp)


def cancel_at_point(world: World, order_id: str, scenario: str, point: int) -> None:
    """Cancel the order when that many crash points have been passed."""

    async def act() -> None:
        await world.points.passed(point)
        await world.log.publish([cancel_request(order_id, scenario)])

    world.meanwhile(act)


def decide(
    world: World, letter: DeadLetter, action: Action, number: int = 1, edited: bytes | None = None
) -> None:
    """An operator's decision about a letter."""
    decision = OperatorDecision(
        decision_id=f"decision-{letter.letter_id}-{number}",
        letter=letter,
        action=action,
        who="olga",
        why="looked at it",
        when_ms=world.clock.now_ms(),
        edited_value_base64=None if edited is None else base64.b64encode(edited).decode(),
    )
    world.publish(
        world.topics.decisions,
        letter.order_id or letter.letter_id,
        decision.model_dump_json().encode(),
        **{envelope.AGENT: letter.agent},
    )


def raw(letter: DeadLetter) -> bytes:
    """The bytes that a letter keeps."""
    return base64.b64decode(letter.origin.value_base64 or "")
