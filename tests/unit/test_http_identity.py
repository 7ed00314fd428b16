"""Who may ask, how often, and under which key."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.unit.forged_tokens import FORGED
from tests.unit.http_gateway import RATE_A_MINUTE, World, assert_problem, lived, order

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@lived
async def test_request_is_refused_when_its_token_is_forged(
    world: World, forged: Callable[[], str]
) -> None:
    """401 with a challenge, whatever the forgery; nothing is counted or claimed for it."""
    answer = await world.place(headers={"Authorization": f"Bearer {forged()}"})

    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="chorale", error="invalid_token"'
    assert not (world.rate.calls)
    assert not (world.answers.calls)
    assert not (world.log.records)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
@lived
async def test_request_is_refused_when_it_brings_no_bearer_token(
    world: World, authorization: str
) -> None:
    """Another scheme, or none, proves nothing."""
    answer = await world.place(headers={"Authorization": authorization})

    assert_problem(answer, 401, "unauthenticated")


@lived
async def test_request_is_refused_when_it_has_no_or_two_identities(world: World) -> None:
    """Without a header the challenge names no error; with two, none is chosen."""
    content = json.dumps(order())
    twice = [*JSON.items(), *world.bearer("ada").items(), *world.bearer("bob").items()]

    without = await world.client.post("/orders", content=content, headers=JSON)
    doubled = await world.client.post("/orders", content=content, headers=twice)

    assert_problem(without, 401, "unauthenticated")
    assert without.headers["www-authenticate"] == 'Bearer realm="chorale"'
    assert_problem(doubled, 401, "unauthenticated")


@lived
async def test_request_is_refused_when_the_quota_is_spent(world: World) -> None:
    """429 says how long to wait; then it goes on; nobody spends another's quota."""
    for n in range(RATE_A_MINUTE):
        assert (await world.place(key=f"k{n}")).status_code == 202

    refused = await world.place(key="one too many")

    assert_problem(refused, 429, "quota-exceeded")
    assert refused.headers["ratelimit"] == '"requests";r=0;t=60'
    assert refused.headers["ratelimit-policy"] == '"requests";q=20;w=60'
    assert refused.headers["retry-after"] == "60"
    assert refused.json()["violated-policies"] == ["requests"]
    assert (await world.place(principal="bob")).status_code == 202
    await world.clock.sleep(60)
    assert (await world.place(key="later")).status_code == 202


@pytest.mark.parametrize(
    "key",
    [
        *("", '""', '"', '"a', '"a"b', '"a";p=1', '"\\a"'),
        *("a b", '"a b"', "a\tb", "\x7f", "k\u00e9y", "a" * 256),
    ],
)
@lived
async def test_key_is_refused_when_not_visible_ascii(world: World, key: str) -> None:
    """Nothing else gets near a store or a log line."""
    sent = {**JSON, **world.bearer(), "Idempotency-Key": key}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]

    answer = await world.client.post("/orders", content=json.dumps(order()), headers=headers)

    assert_problem(answer, 400, "bad-idempotency-key")
    assert "idempotency-key" not in answer.headers


@lived
async def test_key_is_refused_when_sent_twice(world: World) -> None:
    """Nobody can tell which one the caller will repeat."""
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    headers = [*JSON.items(), *world.bearer().items(), *keys]

    answer = await world.client.post("/orders", content=json.dumps(order()), headers=headers)

    assert_problem(answer, 400, "bad-idempotency-key")
