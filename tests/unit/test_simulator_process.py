"""The simulator as a process: one line when ready, kill -9, the same world again, SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from agents.kernel.ports import Effect
from agents.ports import IntentStatus, LabelStatus, ReservationStatus
from agents.providers.http import HttpProviders
from agents.providers.simulator.ledger import balance, parse_line
from schemas.order import Order

ROOT = Path(__file__).parents[2]
ORDER = Order.model_validate(
    {
        "order_id": "o-1",
        "customer": "ada",
        "lines": [
            {"sku": "SKU-1", "quantity": 2, "unit_price": {"amount": 500, "currency": "USD"}}
        ],
        "total": {"amount": 1_000, "currency": "USD"},
        "payment_token": "tok_visa",
        "ship_to": {
            "name": "Ada",
            "street": "1 Main St",
            "city": "Phoenix",
            "postcode": "85001",
            "country": "US",
        },
    }
)


@contextmanager
def simulator(ledger: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agents.providers.simulator", "--ledger", str(ledger)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        yield process, ready["address"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def effect(step: str) -> Effect:
    return Effect(f"o-1:{step}:1", "o-1", 1, "1.1", timeout_s=60.0)


async def test_ledger_is_intact_when_the_process_is_killed(tmp_path: Path) -> None:
    """What was answered before a kill -9 is there after it: objects, stock and keys."""
    ledger = tmp_path / "ledger"
    with simulator(ledger) as (process, address):
        far = HttpProviders(address)
        created = await far.payments.create(effect("create"), ORDER)
        await far.payments.confirm(effect("confirm"), created.id)
        await far.warehouses.reserve(effect("reserve"), "o-1", ORDER)
        label = await far.carriers["fedex"].label(effect("label"), "o-1", ORDER)
        process.kill()
        await far.close()
    before = ledger.read_bytes()

    with simulator(ledger) as (process, address):
        far = HttpProviders(address)
        async with aiohttp.ClientSession() as session, session.get(f"{address}/ledger") as told:
            assert await told.read() == before
        again = await far.payments.create(effect("create"), ORDER)
        reserved = await far.warehouses.reserve(effect("reserve"), "o-1", ORDER)
        label_again = await far.carriers["fedex"].label(effect("label"), "o-1", ORDER)
        assert ledger.read_bytes() == before
        captured = await far.payments.capture(effect("capture"), created.id)
        await far.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0

    assert (again.id, again.status) == (created.id, IntentStatus.AUTHORIZED)
    assert reserved.status is ReservationStatus.RESERVED
    assert label == label_again
    assert label.status is LabelStatus.LIVE
    assert captured.status is IntentStatus.CAPTURED
    found = balance(parse_line(line) for line in ledger.read_bytes().splitlines())
    assert found.orders["o-1"].kept == 1_000
    assert found.violations == ()


def test_damaged_ledger_is_told_and_nothing_starts(tmp_path: Path) -> None:
    """Exit code 2 and a sentence that says what to do."""
    ledger = tmp_path / "ledger"
    ledger.write_bytes(b"nonsense\n")

    ended = subprocess.run(
        [sys.executable, "-m", "agents.providers.simulator", "--ledger", str(ledger)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    assert "move the file aside or restore it" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_stops_with_code_0_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    """An orderly stop is no failure."""
    with simulator(tmp_path / "ledger") as (process, _):
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
