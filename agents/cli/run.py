"""`chorale run`: agents in this process, against a broker and a store that run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.bootstrap import NAMES
from agents.cli.hosting import Hosted, host, log_to_stderr
from agents.cli.output import DONE, Json, Speaker, WrongUsage, command
from agents.cli.running import needed, settings_here
from agents.cli.supervise import Report

Names = Annotated[list[str], typer.Argument(help=f"Agents to run: {', '.join(NAMES)}.")]
AcceptEmptyStore = Annotated[
    bool,
    typer.Option(
        help="Go on with a store that has forgotten everything, although the topics hold events."
    ),
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Keep a file up to date that says how it goes.")
]


@command
async def run(
    names: Names,
    *,
    accept_empty_store: AcceptEmptyStore = False,
    report: ReportFile = None,
    as_json: Json = False,
) -> int:
    """Run agents here until Ctrl-C or SIGTERM, then drain."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise WrongUsage(f"there is no agent {unknown[0]!r}; agents are {', '.join(NAMES)}")
    settings, _ = settings_here()
    needed(settings, "bootstrap", "store_url", "providers_url")
    log_to_stderr()
    speaker = Speaker(as_json=as_json)
    speaker.say(f"running {', '.join(names)}; Ctrl-C drains and ends")
    hosted = Hosted(
        names=tuple(dict.fromkeys(names)),
        settings=settings,
        accept_empty_store=accept_empty_store,
        report=Report(report) if report else None,
    )
    await host(hosted)
    return DONE
