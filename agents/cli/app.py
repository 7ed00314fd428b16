"""The command line: which command is where.

Only the module of the command that was asked for is imported; a command that needs no web
framework and no broker does not wait for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import typer

COMMANDS: Mapping[str, str] = {
    "demo": "agents.cli.demo",
    "up": "agents.cli.up",
    "run": "agents.cli.run",
    "order": "agents.cli.orders",
    "publish": "agents.cli.publish",
    "token": "agents.cli.orders",
    "status": "agents.cli.sagas",
    "sagas": "agents.cli.sagas",
    "dlq": "agents.cli.dlq",
    "audit": "agents.cli.auditing",
    "check": "agents.cli.checking",
    "docs": "agents.cli.checking",
    "doctor": "agents.cli.doctor",
}
"""Module by command; the function, or the group of commands, is named like the command."""


def application(words: Sequence[str]) -> typer.Typer:
    """The application for a command line: with the one command that it names, else with all."""
    app = typer.Typer(
        name="chorale",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_chorale)
    asked = words[0] if words else ""
    for name in (asked,) if asked in COMMANDS else COMMANDS:
        found = getattr(importlib.import_module(COMMANDS[name]), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _chorale() -> None:
    """The order saga behind a Buy Now button, as event choreography over Kafka."""
