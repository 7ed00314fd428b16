"""Generated documents equal what the code says, and generating them is repeatable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents.bootstrap import AGENTS
from agents.choreography.generated import (
    BEGIN,
    COMMAND,
    END,
    README,
    SCHEMAS,
    stale,
    write_generated,
)
from agents.choreography.graph import Choreography
from agents.choreography.rendering import diagram, readme_diagram
from agents.kernel.errors import ConfigurationError
from agents.kernel.settings import Settings
from agents.kernel.topics import load_topics

ROOT = Path(__file__).parents[2]
PAGE = Path("docs/choreography.md")
NODE = re.compile(r'    (\w+)(?:\["|\[\["|\{\{"|\(\[|\(\()')
ARROW = re.compile(r'    (\w+) (?:==>|-\.->|-->|--o)\|"[\w<>/]+"\| (\w+)')
OTHER = re.compile(r"flowchart (?:TD|LR)|    subgraph \w+|    end|    linkStyle [\d,]+ stroke:#\w+")
GENERATE = """
import hashlib, sys
from pathlib import Path
from tests.docs.test_generated import of_the_project
from agents.choreography.generated import write_generated
root = Path(sys.argv[1])
for path in write_generated(root, of_the_project()):
    print(path, hashlib.sha256((root / path).read_bytes()).hexdigest())
"""


def of_the_project() -> Choreography:
    return Choreography.of(AGENTS, load_topics())


@pytest.fixture(scope="module")
def choreography() -> Choreography:
    return of_the_project()


def test_generated_documents_are_fresh(choreography: Choreography) -> None:
    """Whoever changes an agent, an event or a setting runs one command."""
    assert stale(ROOT, choreography) == [], f"run `{COMMAND}` and commit what it writes"


def test_second_writing_changes_nothing(tmp_path: Path, choreography: Choreography) -> None:
    """Writing into an empty tree makes every document, and then all is fresh."""
    first = write_generated(tmp_path, choreography)

    assert PAGE in first
    assert SCHEMAS / "OrderPlaced.json" in first
    assert stale(tmp_path, choreography) == []
    assert write_generated(tmp_path, choreography) == []


def test_documents_are_the_same_under_every_hash_seed(tmp_path: Path) -> None:
    """No set's order leaks into a document."""

    def generated(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", GENERATE, str(tmp_path / seed)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert generated("1") == generated("2") != ""


def test_edited_page_is_stale_and_mended(tmp_path: Path, choreography: Choreography) -> None:
    """What somebody changes by hand between the markers is noticed and written anew."""
    write_generated(tmp_path, choreography)
    page = tmp_path / PAGE
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("PaymentCaptured", "PaymentCharged"), encoding="utf-8")

    assert stale(tmp_path, choreography) == [PAGE]
    assert write_generated(tmp_path, choreography) == [PAGE]
    assert page.read_text(encoding="utf-8") == fresh


def test_text_around_the_markers_is_kept(tmp_path: Path, choreography: Choreography) -> None:
    """People may write before and after the generated part."""
    write_generated(tmp_path, choreography)
    page = tmp_path / PAGE
    inside = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    page.write_text(f"# Ours\n\n{BEGIN}\nold\n{END}\n\nMore of ours.\n", encoding="utf-8")

    write_generated(tmp_path, choreography)

    written = page.read_text(encoding="utf-8")
    assert written == f"# Ours\n\n{BEGIN}{inside}{END}\n\nMore of ours.\n"


def test_page_without_markers_is_refused(tmp_path: Path, choreography: Choreography) -> None:
    """A page that lost its markers is not overwritten; the message says what to do."""
    write_generated(tmp_path, choreography)
    (tmp_path / PAGE).write_text("# Choreography\n", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="lost its markers"):
        stale(tmp_path, choreography)


def test_schema_of_a_removed_event_is_stale(tmp_path: Path, choreography: Choreography) -> None:
    """A schema whose model is gone goes, too."""
    write_generated(tmp_path, choreography)
    left_over = SCHEMAS / "OrderDeferred.json"
    (tmp_path / left_over).write_text("{}\n", encoding="utf-8")

    assert stale(tmp_path, choreography) == [left_over]

    write_generated(tmp_path, choreography)
    assert not (tmp_path / left_over).exists()


def test_readme_shows_the_diagram_only_where_it_asks_for_it(
    tmp_path: Path, choreography: Choreography
) -> None:
    """Without markers the README is left alone."""
    readme = tmp_path / README
    readme.write_text("# Shop\n", encoding="utf-8")
    assert README not in write_generated(tmp_path, choreography)

    readme.write_text(f"# Shop\n\n{BEGIN}\n{END}\n", encoding="utf-8")

    assert write_generated(tmp_path, choreography) == [README]
    assert readme_diagram(choreography) in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize("draw", [diagram, readme_diagram])
def test_diagram_is_well_formed(draw: type[str], choreography: Choreography) -> None:
    """Every line is one of a few forms, every arrow joins nodes that are there."""
    lines = [line.replace("        ", "    ") for line in draw(choreography).splitlines()]
    nodes = {match[1] for match in map(NODE.match, lines) if match}
    arrows = [match for match in map(ARROW.fullmatch, lines) if match]

    strange = [x for x in lines if not (NODE.match(x) or ARROW.fullmatch(x) or OTHER.fullmatch(x))]
    assert strange == []
    assert {end for arrow in arrows for end in arrow.groups()} <= nodes
    coloured = [n for x in lines if "linkStyle" in x for n in x.split()[1].split(",")]
    assert sorted(map(int, coloured)) == list(range(len(arrows)))


def test_diagram_tells_happy_refused_and_undone_apart(choreography: Choreography) -> None:
    """Three kinds of line for three kinds of story."""
    text = diagram(choreography)

    assert 'shipping_label ==>|"ShipmentLabelled"| payment_capture' in text
    assert 'shipping_label -.->|"ShipmentFailed"| inventory_release' in text
    assert 'inventory_release -->|"StockReleased"| payment_void' in text
    assert 'payment_void -->|"PaymentVoided<br/>PaymentRefunded"| FAILED' in text


def test_page_names_every_event_step_and_setting(choreography: Choreography) -> None:
    """A table with a hole is worse than none."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    events = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
    settings = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")

    for name in choreography.contract:
        assert f"| `{name}` |" in page
        assert f"\n## {name}\n" in events
    for handler in choreography.handlers:
        assert handler.step in page
    for setting in Settings.model_fields:
        assert f"| `CHORALE_{setting.upper()}` |" in settings


def test_schemas_are_json_with_a_name_and_a_dialect() -> None:
    """Other languages read these files."""
    for path in sorted((ROOT / SCHEMAS).glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))

        assert schema["$id"] == f"urn:chorale:{path.stem}:v1"
        assert schema["$schema"].endswith("2020-12/schema")
        assert schema["type"] == "object"
