"""`chorale audit`: the log against the providers' own ledger, trusting no agent's state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import aiohttp
import typer

from agents.adapters.kafka import KafkaLog
from agents.audit import Report
from agents.audit import audit as audit_of
from agents.cli.connect import log_of
from agents.cli.output import DONE, FAILED, Json, NotRunning, Speaker, command
from agents.cli.running import needed, settings_here, shown
from agents.kernel.errors import ChoraleError
from agents.kernel.ports import Record
from agents.kernel.settings import Settings
from agents.kernel.topics import Topics, load_topics
from agents.providers.simulator.ledger import Balance, balance, parse_line
from schemas.money import amount_text

LEDGER_S = 60.0
"""To read the whole ledger; a million entries are some 300 megabytes."""
LEDGER_LINE_BYTES_MAX = 1 << 20
"""An order of a hundred lines needs 10 kB."""
LOOKS_MAX = 3
LOOK_AGAIN_S = 1.0
"""Log and ledger cannot be read at one instant; what is wrong in all looks is wrong."""

Settled = Annotated[
    bool, typer.Option("--settled", help="Fail as well if an order is still on its way.")
]


@command
async def audit(*, settled: Settled = False, as_json: Json = False) -> int:
    """Compare the log with the providers' ledger, to the last cent."""
    settings, _ = settings_here()
    needed(settings, "bootstrap", "providers_url")
    async with log_of(settings) as log:
        report = await settled_report(settings, log)
    speaker = Speaker(as_json=as_json)
    for line in lines(report):
        speaker.say(line)
    unsettled = settled and report.in_flight > 0
    if unsettled:
        speaker.say(f"not settled: {report.in_flight} order(s) are still on their way")
    speaker.result(document(report))
    return DONE if report.balanced and not unsettled else FAILED


async def settled_report(settings: Settings, log: KafkaLog, looks_max: int = LOOKS_MAX) -> Report:
    """The report, without what only seemed wrong because orders went on between two readings."""
    report = await audited(settings, log)
    for _ in range(looks_max - 1):
        if report.balanced:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        again = await audited(settings, log)
        again.findings = [text for text in again.findings if text in report.findings]
        report = again
    return report


async def audited(settings: Settings, log: KafkaLog) -> Report:
    """One look at a running system. Raises LogUnavailable or NotRunning."""
    topics = load_topics()
    held = await ledger_of(settings.providers_url)
    return audit_of(await everything(log, topics), held, topics)


async def everything(log: KafkaLog, topics: Topics) -> list[Record]:
    """All records of all topics."""
    return [record async for record in log.read_all([topic.name for topic in topics.all])]


async def ledger_of(providers_url: str) -> Balance:
    """What the providers' ledger adds up to. Raises NotRunning."""
    limit = aiohttp.ClientTimeout(total=LEDGER_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, read_bufsize=LEDGER_LINE_BYTES_MAX) as session,
            session.get(f"{providers_url.rstrip('/')}/ledger") as response,
        ):
            if response.status != 200:
                raise ChoraleError(
                    f"the providers at {shown(providers_url)} answered {response.status} to GET "
                    "/ledger; an audit needs a provider that shows its ledger, as the simulator"
                )
            return balance([parse_line(line) async for line in response.content if line.strip()])
    except (aiohttp.ClientError, OSError) as error:
        raise NotRunning(
            f"the providers do not answer at {shown(providers_url)}: "
            f"{error or type(error).__name__}; start them with `chorale up`"
        ) from error


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    yield (
        f"orders    {report.completed} completed, {report.failed} failed, "
        f"{report.waiting_for_person} waiting for a person, {report.in_flight} on their way, "
        f"{report.rejected} rejected"
    )
    for currency, sums in sorted(report.money.items()):
        charged, refunded, kept, held = (
            amount_text(minor, currency)
            for minor in (sums.captured, sums.refunded, sums.kept, sums.held)
        )
        yield f"money     {charged} charged, {refunded} refunded, {kept} kept, {held} held on cards"
    yield f"letters   {report.letters_open} open"
    for finding in report.findings:
        yield f"finding   {finding}"
    yield (
        "balanced  log and ledger agree"
        if report.balanced
        else (
            f"NOT BALANCED: {len(report.findings)} finding(s); follow one by `chorale status ORDER`"
        )
    )


def document(report: Report) -> dict[str, Any]:
    """The report for programs; amounts in minor units."""
    return {
        "balanced": report.balanced,
        "completed": report.completed,
        "failed": report.failed,
        "waiting_for_person": report.waiting_for_person,
        "in_flight": report.in_flight,
        "rejected": report.rejected,
        "money": {currency: asdict(sums) for currency, sums in report.money.items()},
        "letters_open": report.letters_open,
        "findings": report.findings,
    }
