"""How the command line speaks: plain sentences, or one JSON document; and how a command ends.

1. What a command finds goes to standard output, what went wrong to standard error.
2. With `--json` exactly one JSON document is printed, also for a failure, and nothing else.
3. Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 partly done.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ParamSpec

import typer
from pydantic import ValidationError

from agents.kernel.errors import (
    ChoraleError,
    ConfigurationError,
    LogUnavailable,
    StoreUnavailable,
)

DONE, FAILED, USAGE, PARTLY = 0, 1, 2, 3

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]

P = ParamSpec("P")


class NotRunning(ChoraleError):
    """Nothing answers; start it with `chorale up`."""


class WrongUsage(ChoraleError):
    """The command was called in a way that it does not understand."""


class Speaker:
    """Standard output of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def draws(self) -> bool:
        """Whether a person is looking, so that a line may be drawn over."""
        return not self.as_json and sys.stdout.isatty()

    def say(self, line: str = "") -> None:
        """One line for people; nothing with `--json`."""
        if not self.as_json:
            sys.stdout.write(f"{plain(line)}\n")
            sys.stdout.flush()

    def redraw(self, line: str) -> None:
        """The line over the one drawn before, on a terminal only."""
        if self.draws:
            sys.stdout.write(f"\r\x1b[2K{line}")
            sys.stdout.flush()

    def result(self, document: Mapping[str, Any]) -> None:
        """The JSON document; nothing for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            sys.stdout.flush()


def command(act: Callable[P, Awaitable[int]]) -> Callable[P, None]:
    """An async command as typer wants it: its result is the exit code, its failures sentences."""

    @functools.wraps(act)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            code = asyncio.run(_awaited(act(*args, **kwargs)))
        except KeyboardInterrupt:
            code = 128 + 2
        except BrokenPipeError:
            # Whoever read us (`head`, say) has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except (ChoraleError, ValidationError, OSError) as error:
            code = complain(error, as_json=as_json)
        except BaseExceptionGroup as group:
            failures = group.subgroup((ChoraleError, ValidationError, OSError))
            if failures is None:
                raise
            code = complain(_first(failures), as_json=as_json)
        raise typer.Exit(code)

    return run


def plain(text: str) -> str:
    """The text with control characters made visible: a terminal obeys no stranger's record."""
    shown = (c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return "".join(shown)


def complain(error: BaseException, *, as_json: bool) -> int:
    """Tell a failure; returns the exit code."""
    code = USAGE if isinstance(error, WrongUsage | ValidationError) else FAILED
    text = _sentence(error)
    if as_json:
        kind = type(error).__name__
        sys.stdout.write(json.dumps({"error": {"type": kind, "message": text}}) + "\n")
    sys.stderr.write(f"chorale: {text}\n")
    return code


def _sentence(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        name = "CHORALE_" + "_".join(map(str, first["loc"])).upper()
        return f"setting {name}: {first['msg']}; see docs/reference/settings.md"
    if isinstance(error, LogUnavailable | StoreUnavailable):
        return f"{error}; to run everything on this machine: `chorale up`"
    if isinstance(error, ChoraleError | ConfigurationError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _awaited(act: Awaitable[int]) -> int:
    return await act
