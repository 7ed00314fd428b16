"""The demo, as `make demo` runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.scenarios import SCENARIOS
from tests.integration.whole_system import System, alive, need_embedded

pytestmark = pytest.mark.embedded

TAKES_S = 60.0
"""What is promised of an idle machine."""
SLACK = 2.0
"""A test machine is busy with the tests."""


def test_demo_ends_as_told_when_it_is_run(tmp_path: Path) -> None:
    """Every order ends as its story says, the audit is balanced, nothing is left running."""
    need_embedded()
    system = System(tmp_path / "data")

    told = system.run("demo", "--json", within_s=300)

    document = json.loads(told.stdout)
    wrong = [order for order in document["orders"] if not order["as_expected"]]
    assert wrong == [], told.stderr
    assert document["audit"]["findings"] == []
    assert (told.returncode, document["good"], document["stopped_in_order"]) == (0, True, True)
    assert len(document["orders"]) >= 50
    assert {order["scenario"] for order in document["orders"]} == set(SCENARIOS)
    assert document["took_s"] < TAKES_S * SLACK
    pids = [json.loads(p.read_text())["pid"] for p in (tmp_path / "data/demo/run").glob("*.json")]
    assert len(pids) == 6
    assert not any(alive(pid) for pid in pids)
