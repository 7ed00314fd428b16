"""`POST /orders`: once per key, and 202 only for what the broker has."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.kernel.submission import order_id_of
from schemas import envelope
from tests.unit.http_gateway import World, live, lived, order

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@lived
async def test_order_is_accepted_when_good(world: World) -> None:
    """The answer names the order, its status, its address and its key; the log has the order."""
    answer = await world.place()

    order_id = order_id_of("ada", "k1")
    assert answer.status_code == 202
    assert answer.json() == {
        "order_id": order_id,
        "status": "STARTED",
        "links": {"self": f"/orders/{order_id}", "cancel": f"/orders/{order_id}/cancel"},
    }
    assert answer.headers["location"] == f"/orders/{order_id}"
    assert answer.headers["idempotency-key"] == "k1"
    assert answer.headers["ratelimit"] == '"requests";r=19;t=60'
    assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=60'
    assert answer.headers["cache-control"] == "no-store"
    placed = json.loads(world.log.records[0].value)
    assert world.log.events() == ["OrderPlaced"]
    assert placed["order"]["customer"] == "ada"
    assert placed["order"]["order_id"] == order_id


@lived
async def test_answer_is_the_stored_one_when_asked_again(world: World) -> None:
    """Byte for byte, marked as replayed, and nothing is published again."""
    first = await world.place()
    reordered = json.dumps(dict(reversed(order().items())), indent=4).encode()

    second = await world.place(reordered)

    assert second.status_code == 202
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert len(world.log.records) == 1


@lived
async def test_key_is_refused_when_used_with_another_body(world: World) -> None:
    """The first order stands, untouched."""
    await world.place()

    answer = await world.place(order(quantity=3))

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"
    assert len(world.log.records) == 1


@lived
async def test_key_is_another_order_when_somebody_else_uses_it(world: World) -> None:
    """Keys belong to principals: nobody can probe or take the keys of others."""
    first = await world.place(principal="ada")
    second = await world.place(principal="bob")

    assert second.status_code == 202
    assert first.json()["order_id"] != second.json()["order_id"]


@lived
async def test_key_is_made_and_returned_when_none_is_sent(world: World) -> None:
    """With the returned key the caller can repeat the request safely."""
    first = await world.place(key=None)

    second = await world.place(key=first.headers["idempotency-key"])

    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    assert (await world.place(key=None)).json()["order_id"] != first.json()["order_id"]


@pytest.mark.parametrize(
    ("first", "second"), [('"k 1"'.replace(" ", ""), "k1"), (r'"a\"b\\c"', 'a"b\\c')]
)
@lived
async def test_key_is_the_same_when_quoted_or_bare(world: World, first: str, second: str) -> None:
    """The draft's quoted string and the bare form of common practice mean one key."""
    answers = [await world.place(key=first), await world.place(key=second)]

    assert answers[0].content == answers[1].content
    assert answers[0].headers["idempotency-key"] == first


@lived
async def test_second_request_waits_its_turn_when_the_first_is_in_flight(world: World) -> None:
    """409 with Retry-After while the first is answered, the same answer afterwards."""
    world.log.acknowledge.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(world.place(), name="first")
        await world.log.reached.wait()

        second = await world.place()
        other_body = await world.place(order(quantity=9))

        assert not first.done(), "202 before the broker acknowledged"
        world.log.acknowledge.set()

    assert second.status_code == 409
    assert second.headers["retry-after"] == "1"
    assert other_body.status_code == 422
    assert first.result().status_code == 202
    assert (await world.place()).content == first.result().content
    assert len(world.log.records) == 1


@pytest.mark.parametrize(
    ("sent", "continued"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"00-{TRACE}-00f067aa0ba902b7-00", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-new", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-new", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        ("nonsense", False),
        ("", False),
    ],
)
@lived
async def test_trace_is_continued_when_the_caller_sends_one(
    world: World, sent: str, continued: bool
) -> None:
    """A valid trace context goes on in the event; any other is as good as none."""
    await world.place(headers={"traceparent": sent})

    published = world.log.header(world.log.records[0], envelope.TRACEPARENT)
    assert (published.split("-")[1] == TRACE) is continued


@lived
async def test_problem_has_the_trace_of_the_order_when_it_is_known(world: World) -> None:
    """With the trace id of a refusal one finds the order's trace."""
    await world.place()

    refused = await world.place(order(quantity=9))

    published = world.log.header(world.log.records[0], envelope.TRACEPARENT)
    assert refused.json()["trace_id"] == published.split("-")[1]


KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
PRINCIPALS = st.sampled_from(["ada", "bob", "a:b", "zoë"])


@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(
        st.tuples(PRINCIPALS, st.sampled_from(["k", "l"]), st.integers(1, 2)),
        min_size=1,
        max_size=12,
    )
)
def test_same_key_and_body_are_one_order_whatever_came_between(
    calls: list[tuple[str, str, int]],
) -> None:
    """Same principal, key and body: same bytes. Another body: 422. Another principal: another."""

    async def scenario(world: World) -> None:
        answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        for principal, key, quantity in calls:
            answer = await world.place(order(quantity=quantity), key, principal)
            known = answers.get((principal, key))
            if known is None:
                assert answer.status_code == 202
                answers[principal, key] = (quantity, answer.content)
            elif known[0] == quantity:
                assert (answer.status_code, answer.content) == (202, known[1])
            else:
                assert answer.status_code == 422
        assert len({content for _, content in answers.values()}) == len(answers)
        assert len(world.log.records) == len(answers)

    live(scenario)


@settings(max_examples=30, deadline=None)
@given(key=KEYS)
def test_key_is_honoured_when_visible_ascii(key: str) -> None:
    """Every bare key works, unless it looks like a quoted string and is none."""

    async def scenario(world: World) -> None:
        quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
        answers = [await world.place(key=quoted)]
        if not key.startswith('"'):
            answers.append(await world.place(key=key))
        assert {a.status_code for a in answers} == {202}
        assert {a.json()["order_id"] for a in answers} == {order_id_of("ada", key)}

    live(scenario)
