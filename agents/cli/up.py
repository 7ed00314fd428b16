"""`chorale up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from agents.cli import banner
from agents.cli.machine import Machine, Wish
from agents.cli.output import DONE, FAILED, Json, Speaker, command
from agents.cli.run import AcceptEmptyStore
from agents.cli.running import environment, find
from agents.kernel.errors import ChoraleError, ConfigurationError
from agents.kernel.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

DataDir = Annotated[
    str, typer.Option(help="Where everything keeps its data. [default: CHORALE_DATA_DIR]")
]


@command
async def up(
    *,
    data_dir: DataDir = "",
    accept_empty_store: AcceptEmptyStore = False,
    as_json: Json = False,
) -> int:
    """Run everything on this machine, one process an agent, until Ctrl-C."""
    settings = environment()
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    refuse_a_second(settings)
    refuse_development_key(settings)
    speaker = Speaker(as_json=as_json)
    machine = Machine(Wish(settings, accept_empty_store), speaker.say)
    began_s = time.monotonic()

    async def work() -> None:
        speaker.say("starting ...")
        await machine.start()
        took_s = time.monotonic() - began_s
        for line in banner.lines(machine, took_s):
            speaker.say(line)
        speaker.result(banner.document(machine, took_s))
        await machine.watch()

    async def end() -> bool:
        speaker.say("ending: agents first, then simulator, broker and store ...")
        return await machine.stop()

    in_order = await until_signalled(work, end)
    speaker.say("everything has ended" + ("" if in_order else ", not all of it in order"))
    return DONE if in_order else FAILED


async def until_signalled(
    work: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[bool]]
) -> bool:
    """Work until it is done, fails, or SIGTERM or SIGINT comes; then `end`, whatever happened."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        # Stays in place while ending: an impatient second Ctrl-C must not leave processes behind.
        loop.add_signal_handler(number, asked.set)
    try:
        await _first(work, asked)
    finally:
        in_order = await end()
        for number in numbers:
            loop.remove_signal_handler(number)
    return in_order


async def _first(work: Callable[[], Awaitable[None]], asked: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(_run(work), name="work")
        asking = tasks.create_task(asked.wait(), name="wait for a signal")
        await asyncio.wait((working, asking), return_when=asyncio.FIRST_COMPLETED)
        for task in (working, asking):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,))


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def refuse_a_second(settings: Settings) -> None:
    """Raise ChoraleError if a system runs on the data folder."""
    running = find(Path(settings.data_dir))
    if running is not None:
        raise ChoraleError(
            f"a system runs on {Path(settings.data_dir).resolve()} already, process {running.pid}, "
            f"gateway {running.gateway_url}; use it, or choose another folder by --data-dir"
        )


def refuse_development_key(settings: Settings) -> None:
    """Raise ConfigurationError where a key that anybody here can read would not be enough."""
    if settings.jwt_secret_file:
        return
    brokers = [urlsplit(f"//{b}").hostname for b in settings.bootstrap.split(",") if b]
    if any(host not in _LOOPBACK for host in (*brokers, settings.http_host)):
        raise ConfigurationError(
            "a development key is refused with a broker elsewhere or a gateway that others can "
            "reach; set CHORALE_JWT_SECRET_FILE to a secret of yours"
        )
