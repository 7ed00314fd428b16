"""What the gateway refuses, in which order, and what a refusal looks like."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.adapters.http_problems import KINDS
from agents.adapters.http_requests import BODY_TIMEOUT_S
from agents.kernel.submission import SUBMISSION_BYTES_MAX
from tests.unit.http_gateway import World, assert_problem, lived, order

JSON = {"Content-Type": "application/json"}
TOO_LARGE = b" " * (SUBMISSION_BYTES_MAX + 1)


@lived
async def test_requests_are_judged_in_a_fixed_order(world: World) -> None:
    """Size, type, JSON, identity, quota, key, content: the first fault is the one that is told."""
    no_token = {"Authorization": "Bearer x"}
    plain = {"Content-Type": "text/plain"}
    bad_key = {"Idempotency-Key": "a b"}
    extra = order(customer="bob")

    answers = [
        await world.place(TOO_LARGE, headers={**plain, **no_token}),
        await world.place(b"{", headers={**plain, **no_token}),
        await world.place(b"{", headers=no_token),
        await world.place(extra, key=None, headers={**no_token, **bad_key}),
        await world.place(extra, key=None, headers=bad_key),
        await world.place(extra),
    ]

    assert [a.status_code for a in answers] == [413, 415, 400, 401, 400, 422]
    assert world.rate.calls == ["hit"] * 2, "only who proves an identity is counted"
    assert world.answers.calls == [], "nothing is claimed for what is refused"


@lived
async def test_body_is_refused_when_declared_too_large(world: World) -> None:
    """Not a byte of it is read."""
    sent = []

    async def whole() -> AsyncIterator[bytes]:
        sent.append(1)
        yield TOO_LARGE

    headers = {**JSON, **world.bearer(), "Content-Length": str(len(TOO_LARGE))}

    answer = await world.client.post("/orders", content=whole(), headers=headers)

    assert_problem(answer, 413, "body-too-large")
    assert answer.headers["connection"] == "close"
    assert sent == []


@lived
async def test_body_is_cut_off_when_it_grows_too_large(world: World) -> None:
    """A body of unknown length is read to the limit and no further."""
    sent = []

    async def far_too_long() -> AsyncIterator[bytes]:
        for _ in range(64):
            sent.append(1)
            yield b" " * 16_384

    headers = {**JSON, **world.bearer()}

    answer = await world.client.post("/orders", content=far_too_long(), headers=headers)

    assert_problem(answer, 413, "body-too-large")
    assert len(sent) <= SUBMISSION_BYTES_MAX // 16_384 + 1


@lived
async def test_body_is_accepted_when_exactly_as_large_as_allowed(world: World) -> None:
    """The limit itself is inside."""
    body = json.dumps(order()).encode()
    body += b" " * (SUBMISSION_BYTES_MAX - len(body))

    assert (await world.place(body)).status_code == 202


@lived
async def test_body_is_refused_when_it_comes_too_slowly(world: World) -> None:
    """A sender that stops sending does not hold its connection for ever."""

    async def halting() -> AsyncIterator[bytes]:
        yield b"{"
        await world.clock.sleep(BODY_TIMEOUT_S + 1)
        yield b"}"

    headers = {**JSON, **world.bearer()}

    answer = await world.client.post("/orders", content=halting(), headers=headers)

    assert_problem(answer, 408, "slow-body")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json, text/plain"},
        {"Content-Encoding": "gzip"},
    ],
)
@lived
async def test_body_is_refused_when_not_declared_as_json(
    world: World, headers: dict[str, str]
) -> None:
    """Only JSON in UTF-8 is read."""
    answer = await world.place(headers=headers)

    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json;charset=UTF-8", "application/json;"],
)
@lived
async def test_body_is_read_when_declared_as_json(world: World, content_type: str) -> None:
    """However it is spelled."""
    assert (await world.place(headers={"Content-Type": content_type})).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": 1}{',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 60_000,
        b'{"a": 1' + b"0" * 5_000 + b"}",
        "{}".encode("utf-16"),
    ],
)
@lived
async def test_body_is_refused_when_no_json_object(world: World, body: bytes) -> None:
    """The fault is told with a pointer."""
    answer = await world.client.post("/orders", content=body, headers={**JSON, **world.bearer()})

    assert_problem(answer, 400, "malformed-body")
    assert answer.json()["errors"][0]["pointer"] == ""


@pytest.mark.parametrize("member", ["order_id", "idempotency_key", "customer"])
@pytest.mark.parametrize("value", ["bob", None])
@lived
async def test_body_is_refused_when_it_says_what_others_say(
    world: World, member: str, value: str | None
) -> None:
    """Id and key come from the header, the customer from the token; never from the body."""
    answer = await world.place({**order(), member: value})

    assert_problem(answer, 422, "invalid-content")
    assert [e["pointer"] for e in answer.json()["errors"]] == [f"/{member}"]
    assert world.answers.calls == []


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"lines": []}, "/lines"),
        ({"lines": [{"sku": "A"}]}, "/lines/0/quantity"),
        ({"total": {"amount": "900", "currency": "USD"}}, "/total/amount"),
        ({"total": {"amount": 900, "currency": "XXX"}}, "/total"),
        ({"payment_token": "4111111111111111"}, "/payment_token"),
        ({"email": "a\u0000b"}, "/email"),
        ({"unknown": 1}, "/unknown"),
    ],
)
@lived
async def test_order_is_refused_when_invalid(
    world: World, changed: dict[str, Any], pointer: str
) -> None:
    """Every fault has its place and its reason, and nothing is remembered."""
    answer = await world.place(order(**changed))

    assert_problem(answer, 422, "invalid-content")
    assert pointer in [e["pointer"] for e in answer.json()["errors"]]
    assert answer.headers["idempotency-key"] == "k1"
    assert not (world.answers.calls)
    assert not (world.log.records)
    assert (await world.place()).status_code == 202, "the key is still free"


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/order", 404, "not-found"),
        ("GET", "/docs", 404, "not-found"),
        ("POST", "/orders/", 404, "not-found"),
        ("GET", "/problems/no-such-kind", 404, "not-found"),
        ("GET", "/orders", 405, "method-not-allowed"),
        ("PUT", "/orders/o-1", 405, "method-not-allowed"),
        ("DELETE", "/readyz", 405, "method-not-allowed"),
    ],
)
@lived
async def test_address_is_a_problem_when_unknown(
    world: World, method: str, path: str, status: int, name: str
) -> None:
    """Not even the framework's own answers look otherwise."""
    answer = await world.client.request(method, path)

    assert_problem(answer, status, name)
    assert (status == 405) is ("allow" in answer.headers)


@pytest.mark.parametrize("name", KINDS)
@lived
async def test_problem_type_can_be_looked_up(world: World, name: str) -> None:
    """A type that is an address here leads to its meaning."""
    answer = await world.client.get(f"/problems/{name}")

    assert answer.status_code == 200
    assert answer.json()["title"] == KINDS[name].title
    assert answer.json()["advice"]


@lived
async def test_health_tells_of_the_process_and_its_dependencies(world: World) -> None:
    """Alive whatever happens; ready when store and broker are; and ready again by itself."""
    ready = await world.client.get("/readyz")
    world.health.down("broker", "kafka at 10.0.0.7 is away")
    world.ledger.failing.add("apply")
    not_ready = await world.client.get("/readyz")
    alive = await world.client.get("/healthz")
    world.health.up("broker")
    world.health.down("store", "noted by a request that was cut off since")
    world.ledger.failing.clear()
    again = await world.client.get("/readyz")

    assert (ready.status_code, ready.text) == (200, "store: ok\nbroker: ok\n")
    assert not_ready.status_code == 503
    assert [line.split(",")[0] for line in not_ready.text.splitlines()] == [
        "store: down",
        "broker: down",
    ]
    assert "10.0.0.7" not in not_ready.text
    assert (alive.status_code, alive.text) == (200, "alive\n")
    assert again.status_code == 200


@lived
async def test_gateway_is_not_ready_when_the_store_hangs(world: World) -> None:
    """A probe is answered in bounded time."""
    world.ledger.hanging.add("apply")

    assert (await world.client.get("/readyz")).status_code == 503
