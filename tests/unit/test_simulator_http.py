"""The simulator's own HTTP surface: headers, errors, stock, knobs, ledger, health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from agents.providers.simulator.app import SimulatorApp
from agents.providers.simulator.journal import FileJournal
from agents.providers.simulator.ledger import balance, parse_line
from agents.providers.simulator.world import World

INTENT = {
    "amount": 1_500,
    "currency": "USD",
    "payment_token": "tok_visa",
    "metadata": {"order_id": "o-1"},
}


class NoChance:
    """Chance that never strikes."""

    def random(self) -> float:
        return 0.99


class Browser:
    """Asks the simulator and reads the JSON of its answers."""

    def __init__(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        self.session = session
        self.stop = stop
        self.journal: FileJournal

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, CIMultiDictProxy[str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, path, json=body, headers=named) as response:
            return response.status, await response.json(content_type=None), response.headers


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    journal = FileJournal(tmp_path / "ledger")
    stop = asyncio.Event()
    app = SimulatorApp(World(journal, lambda: 1_000, NoChance()), journal, stop)
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        found = Browser(session, stop)
        found.journal = journal
        yield found
    await runner.cleanup()
    await journal.close()


async def test_replayed_answer_is_the_first_one_and_says_so(browser: Browser) -> None:
    """A replay repeats the first body byte for byte, with the header of Stripe's name."""
    _, created, headers = await browser.ask("POST", "/payments", INTENT, Idempotency_Key="k")
    await browser.ask("POST", f"/payments/{created['id']}/confirm", {}, Idempotency_Key="k2")

    status, again, again_headers = await browser.ask(
        "POST", "/payments", INTENT, Idempotency_Key="k"
    )

    assert (status, again) == (200, created)
    assert "idempotent-replayed" not in headers
    assert again_headers["idempotent-replayed"] == "true"
    _, now, _ = await browser.ask("GET", f"/payments/{created['id']}")
    assert (created["status"], now["status"]) == ("unconfirmed", "authorized")


class Mistake(NamedTuple):
    """A request that is at fault, and what it is told."""

    request: str
    body: object
    headers: dict[str, str]
    status: int
    code: str


KEY = {"Idempotency_Key": "new"}
USED_KEY = {"Idempotency_Key": "k"}
MISTAKES = (
    Mistake("POST /payments", INTENT, {}, 400, "invalid"),
    Mistake("POST /payments", {**INTENT, "amount": 7}, USED_KEY, 400, "idempotency_mismatch"),
    Mistake("POST /payments", {**INTENT, "amount": "7"}, KEY, 400, "invalid"),
    Mistake("POST /payments", {**INTENT, "odd": 1}, KEY, 400, "invalid"),
    Mistake("POST /payments", [], KEY, 400, "invalid"),
    Mistake("POST /payments", INTENT, {**KEY, "chorale_attempt": "x"}, 400, "invalid"),
    Mistake("GET /payments/pi_none", None, {}, 404, "not_found"),
    Mistake("GET /reservations/none", None, {}, 404, "not_found"),
    Mistake("GET /carriers/ups/labels/none", None, {}, 404, "not_found"),
    Mistake("GET /carriers/dhl/labels/none", None, {}, 404, "not_found"),
    Mistake("POST /channels/pigeon/messages", {"target": "t"}, KEY, 404, "not_found"),
    Mistake("POST /stock", {"warehouse": "X", "sku": "A", "quantity": 1}, {}, 400, "invalid"),
    Mistake("PUT /knobs", {"services": {"dhl": {}}}, {}, 400, "invalid"),
    Mistake("PUT /knobs", {"services": {"ups": {"failure_rate": 2}}}, {}, 400, "invalid"),
    Mistake("GET /ledger?from=x", None, {}, 400, "invalid"),
)


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_error_tells_its_code(browser: Browser, mistake: Mistake) -> None:
    """Each mistake is answered with a status, a code and a message, and writes nothing."""
    await browser.ask("POST", "/payments", INTENT, Idempotency_Key="k")
    _, health, _ = await browser.ask("GET", "/healthz")
    method, path = mistake.request.split()

    status, told, _ = await browser.ask(method, path, mistake.body, **mistake.headers)

    assert (status, told["error"]["code"]) == (mistake.status, mistake.code)
    assert told["error"]["message"]
    assert (await browser.ask("GET", "/healthz"))[1] == health


async def test_fence_and_outage_have_their_statuses(browser: Browser) -> None:
    """412 for a lost lease, 503 `refused` for nothing happened."""
    lines = {"lines": [{"sku": "SKU-1", "quantity": 1}]}
    await browser.ask("POST", "/reservations/o-1", lines, Idempotency_Key="k", chorale_fence="2.1")

    fenced, told, _ = await browser.ask(
        "POST", "/reservations/o-1/release", {}, Idempotency_Key="k2", chorale_fence="1.9"
    )
    await browser.ask("PUT", "/knobs", {"services": {"warehouses": {"down": True}}})
    down, refused, _ = await browser.ask("GET", "/reservations/o-1")

    assert (fenced, told["error"]["code"]) == (412, "fenced")
    assert (down, refused["error"]["code"]) == (503, "refused")


async def test_goods_come_in_and_are_seen(browser: Browser) -> None:
    """Received goods stand on the shelf at once."""
    status, shelf, _ = await browser.ask(
        "POST", "/stock", {"warehouse": "RNO4", "sku": "SKU-SCARCE", "quantity": 3}
    )
    _, levels, _ = await browser.ask("GET", "/stock")

    assert (status, shelf["on_hand"]) == (201, 3)
    assert levels["RNO4"]["SKU-SCARCE"] == {"on_hand": 3, "reserved": 0, "available": 3}
    assert levels["PHX7"]["SKU-SCARCE"]["available"] == 5


async def test_knobs_are_replaced_as_a_whole(browser: Browser) -> None:
    """What a PUT does not name becomes calm, and a refused PUT changes nothing."""
    await browser.ask("PUT", "/knobs", {"services": {"ups": {"latency_ms": 5}}})
    await browser.ask("PUT", "/knobs", {"services": {"fedex": {"down": True}}})
    await browser.ask("PUT", "/knobs", {"services": {"fedex": {}, "dhl": {}}})

    _, told, _ = await browser.ask("GET", "/knobs")

    assert told["services"]["fedex"]["down"] is True
    assert told["services"]["ups"]["latency_ms"] == 0


async def test_ledger_streams_from_any_entry(browser: Browser) -> None:
    """The ledger over HTTP is the file, and adds up."""
    await browser.ask("POST", "/payments", INTENT, Idempotency_Key="k")

    async with browser.session.get("/ledger") as response:
        whole = await response.read()
    async with browser.session.get("/ledger?from=4") as response:
        tail = await response.read()

    assert whole == browser.journal.path.read_bytes()
    entries = [parse_line(line) for line in whole.splitlines()]
    assert balance(entries).orders["o-1"].payments == 1
    assert parse_line(tail.splitlines()[0]) == entries[3]
    assert entries[3].key == "k"


async def test_nothing_is_confirmed_when_the_disk_is_full(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that cannot be written answers 500, which callers take as doubt, and stops."""

    def full(batch: list[bytes]) -> None:
        browser.journal.failure = "disk full"
        raise OSError("disk full")

    monkeypatch.setattr(browser.journal, "_write", full)

    status, told, _ = await browser.ask("POST", "/payments", INTENT, Idempotency_Key="k")

    assert (status, told["error"]["code"]) == (500, "internal")
    assert browser.stop.is_set()
