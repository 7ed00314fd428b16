"""No page points at nothing: every link and every named file of the documents exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
NAMED = re.compile(
    r"`((?:agents|tests|schemas|docs|examples)/[\w./-]+\.(?:py|md|yaml|lua|ndjson))`"
)
EXAMPLES = {"agents/fraud.py"}
"""Files that a page tells its reader to write."""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_and_named_file_exists(page: Path) -> None:
    """A moved file takes the pages with it."""
    text = page.read_text(encoding="utf-8")
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    named = [name for name in NAMED.findall(text) if name not in EXAMPLES]
    missing += [name for name in named if not (ROOT / name).exists()]

    assert not missing, f"{page.name} points at {missing}"
