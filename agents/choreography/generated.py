"""Documents that are computed from the code: writing them, and saying which ones are stale.

A generated part stands between two markers; what people write around it is left alone. A schema
file is generated as a whole, and one whose model is gone is stale until it is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.choreography.contract import event_reference, schema_files, settings_reference
from agents.choreography.graph import Choreography
from agents.choreography.rendering import (
    diagram,
    event_table,
    legend,
    readme_diagram,
    step_table,
)
from agents.kernel.errors import ConfigurationError

COMMAND = "chorale docs"
BEGIN = f"<!-- generated: begin. Do not edit by hand; run `{COMMAND}`. -->"
END = "<!-- generated: end -->"
SCHEMAS = Path("docs/reference/schemas")
README = Path("README.md")
"""Shows the diagram if it has the markers; it is written by people otherwise."""

TITLES = {
    Path("docs/choreography.md"): (
        "# Choreography",
        "Who says what, who reacts, and how everything is undone.",
    ),
    Path("docs/reference/events.md"): (
        "# Events",
        "What every event of the contract means and carries.",
    ),
    Path("docs/reference/settings.md"): (
        "# Settings",
        "Read once from the environment when an agent starts; an unknown name is refused.",
    ),
}


def write_generated(root: Path, choreography: Choreography) -> list[Path]:
    """Write what is stale, remove what is left over; returns the paths, relative to `root`."""
    changed = stale(root, choreography)
    wanted = _wanted(root, choreography)
    for path in changed:
        target = root / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(wanted[path], encoding="utf-8", newline="\n")
        else:
            target.unlink()
    return changed


def stale(root: Path, choreography: Choreography) -> list[Path]:
    """Documents that differ from what the code says, or should not exist; relative to `root`."""
    wanted = _wanted(root, choreography)
    differing = [path for path, text in wanted.items() if _read(root / path) != text]
    kept = {(root / path).name for path in wanted if path.parent == SCHEMAS}
    left_over = [
        SCHEMAS / path.name for path in (root / SCHEMAS).glob("*.json") if path.name not in kept
    ]
    return sorted([*differing, *left_over])


def _wanted(root: Path, choreography: Choreography) -> dict[Path, str]:
    """Path and full text of every generated document."""
    writers: dict[Path, Callable[[], str]] = {
        Path("docs/choreography.md"): lambda: _choreography_page(choreography),
        Path("docs/reference/events.md"): lambda: event_reference(choreography),
        Path("docs/reference/settings.md"): settings_reference,
    }
    if BEGIN in (_read(root / README) or ""):
        writers[README] = lambda: _mermaid(readme_diagram(choreography))
    pages = {path: _around(root, path, write()) for path, write in writers.items()}
    return {**pages, **{SCHEMAS / name: text for name, text in schema_files().items()}}


def _choreography_page(choreography: Choreography) -> str:
    loops = (
        "Hexagons are compensations. A step's own decisions (settling its doubt, switching the "
        "carrier, stopping) lead back to the step itself."
    )
    keys = (
        "The number at the end of a key is the logical attempt: retries, takeovers and "
        "redeliveries share it, and only an operator's replay raises it. A step that serves "
        "several targets makes a finer key for each, and gives them up one by one."
    )
    parts = (
        "## Diagram",
        _mermaid(diagram(choreography)),
        legend(),
        loops,
        "## Events",
        event_table(choreography),
        "## Steps",
        step_table(choreography),
        keys,
    )
    return "\n\n".join(parts)


def _mermaid(text: str) -> str:
    return f"```mermaid\n{text}\n```"


def _around(root: Path, path: Path, generated: str) -> str:
    """The document with its generated part renewed. Raises ConfigurationError."""
    block = f"{BEGIN}\n\n{generated}\n\n{END}"
    text = _read(root / path)
    if text is None:
        return "\n\n".join((*TITLES[path], block)) + "\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigurationError(
            f"{path} has lost its markers {BEGIN!r} and {END!r}; put them back around the "
            f"generated part, or remove the file and run `{COMMAND}`"
        )
    return f"{before}{block}{after}"


def _read(path: Path) -> str | None:
    """The text, with line ends as on any machine; None if there is no such file."""
    return path.read_text(encoding="utf-8") if path.is_file() else None
