"""`chorale up` for real: orders, killed agents, dead letters, and the end in every manner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.whole_system import ROOT, System, alive, need_embedded, wait_for

pytestmark = pytest.mark.embedded

QUICK = {"effect_timeout_ms": "2000", "retry_base_ms": "200"}
ENDED_WITHIN_S = 20.0
"""Services that lose their parent save their data first."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One running system for all tests of this file that leave it running."""
    need_embedded()
    running = System(tmp_path_factory.mktemp("up") / "data", **QUICK)
    running.up()
    yield running
    running.down()


def test_order_completes_when_it_is_placed_from_a_second_terminal(system: System) -> None:
    """The commands find the running system by its data folder alone."""
    told = system.ask("order")

    assert (told["status"], told["as_expected"]) == ("COMPLETED", True)
    assert set(told["stages"].values()) == {"ok"}
    assert system.ask("status", told["order_id"])["status"] == "COMPLETED"


def test_order_finishes_when_its_agents_are_killed_in_the_middle(system: System) -> None:
    """Shipping and payment are killed in mid-order: both come back, the card is charged once."""
    placing = subprocess.Popen(
        [sys.executable, "-m", "agents", "order", "--scenario", "slow-carrier", "--json"],
        cwd=ROOT,
        env=system.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: bool(system.ask("sagas", "--state", "inventory_reserved")["sagas"]), 30)
    killed = {name: system.reported_pid(name) for name in ("shipping", "payment")}

    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    told, _ = placing.communicate(timeout=120)

    assert '"status": "COMPLETED"' in told
    assert all(system.reported_pid(name) != pid for name, pid in killed.items())
    assert system.ask("audit")["balanced"]


def test_letter_is_decided_once_when_it_is_replayed(system: System) -> None:
    """A dead letter owes money, is replayed with a reason, and cannot be decided again."""
    order_id = system.ask("order", "--scenario", "void-fails")["order_id"]
    letter = system.ask("dlq", "list")["letters"][0]
    assert letter["order_id"] == order_id
    assert system.ask("dlq", "list")["owed"] == {"USD": 4200}

    words = ("dlq", "replay", letter["letter_id"], "--why", "the provider answers again")
    assert system.run(*words, "--who", "ada").returncode == 0
    again = system.run(*words)

    assert again.returncode == 1
    assert "replay by ada" in again.stderr
    wait_for(lambda: system.ask("status", order_id)["status"] == "FAILED", 30)
    assert system.run("audit").returncode == 0


def test_publish_is_partly_done_when_a_line_is_malformed(system: System, tmp_path: Path) -> None:
    """A malformed line is told by its number; the others go into Kafka."""
    example = (ROOT / "examples" / "orders.ndjson").read_text().splitlines()[2]
    lines = tmp_path / "orders.ndjson"
    lines.write_text(f"{example}\nnonsense\n")

    told = system.run("publish", str(lines))

    assert told.returncode == 3
    assert "line 2" in told.stderr


def test_doctor_finds_all_well_when_the_system_runs(system: System) -> None:
    """Every line of the doctor is ok or a note."""
    lines = system.ask("doctor")["lines"]

    assert [line for line in lines if line["verdict"] == "fix"] == []
    assert {"broker", "store", "gateway", "tracker"} <= {line["what"] for line in lines}


def test_second_system_is_refused_when_one_runs_on_the_folder(system: System) -> None:
    """Two systems never share a data folder."""
    told = system.run("up")

    assert told.returncode == 1
    assert "runs on" in told.stderr


def test_gateway_secret_is_kept_when_commands_speak(system: System) -> None:
    """The development key is its owner's alone, and only `token` prints what is made of it."""
    key = system.folder / "dev-key"

    assert key.stat().st_mode & 0o077 == 0
    told = system.run("doctor").stdout + system.run("sagas").stdout
    assert key.read_text().strip() not in told
    assert system.ask("token")["token"].count(".") == 2


def test_no_process_is_left_when_a_system_is_ended_and_killed(tmp_path: Path) -> None:
    """In order: exit 0 and a second start finds its data. Killed: the data is moved aside."""
    need_embedded()
    system = System(tmp_path / "data", **QUICK)

    first = system.up()
    order_id = system.ask("order")["order_id"]
    assert system.down() == 0
    assert not any(alive(pid) for pid in system.pids.values())

    second = system.up()
    assert (first["moved_aside"], second["moved_aside"]) == (None, None)
    assert system.ask("status", order_id)["status"] == "COMPLETED"
    assert system.down(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not any(alive(pid) for pid in system.pids.values()), ENDED_WITHIN_S)

    third = system.up()
    assert third["moved_aside"] is not None
    assert system.ask("sagas")["sagas"] == []
    assert system.ask("audit")["balanced"]
    assert system.down(signal.SIGINT) == 0
    assert not any(alive(pid) for pid in system.pids.values())
