"""The simulator as a process: `python -m agents.providers.simulator --port 0 --ledger FILE`.

Prints one JSON line with its address when it takes calls; stops on SIGTERM or SIGINT with exit
code 0. Exit code 1 means that the ledger could not be written, 2 that it could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
import time
from pathlib import Path

import structlog
from aiohttp import web

from agents.kernel.errors import ConfigurationError
from agents.providers.simulator.app import SimulatorApp
from agents.providers.simulator.journal import FileJournal
from agents.providers.simulator.world import World

STOP_WITHIN_S = 1.0
"""Calls in work are answered in milliseconds; only late answers are cut off."""

KEEP_ALIVE_S = 75.0
"""Longer than a client keeps an idle connection, so that the client closes first."""


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m agents.providers.simulator", description="The simulated outside world."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 for any")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger file; made if missing")
    parser.add_argument("--seed", type=int, default=1, help="seed of the knobs' chance")
    asked = parser.parse_args()
    # The one line on stdout is for the parent process; everything else goes to stderr.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        code = asyncio.run(_run(asked))
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        code = 2
    sys.exit(code)


async def _run(asked: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    journal = FileJournal(asked.ledger)
    world = World(journal, _now_ms, random.Random(asked.seed))  # noqa: S311 - repeatable chance
    app = SimulatorApp(world, journal, stop)
    runner = web.AppRunner(
        app.application(),
        access_log=None,
        shutdown_timeout=STOP_WITHIN_S,
        keepalive_timeout=KEEP_ALIVE_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, asked.host, asked.port).start()
        await journal.durable()
        _tell(runner, asked.ledger, world)
        await stop.wait()
    finally:
        await runner.cleanup()
        await journal.close()
    return 1 if journal.failure else 0


def _tell(runner: web.AppRunner, ledger: Path, world: World) -> None:
    host, port = runner.addresses[0][:2]
    ready = {
        "address": f"http://{host}:{port}",
        "ledger": str(ledger),
        "entries": world.entries,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
