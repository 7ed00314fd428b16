"""`chorale dlq`: the dead letters, and what a person decides about them."""

from __future__ import annotations

import base64
import getpass
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.adapters.kafka import KafkaLog
from agents.adapters.system import SystemClock, SystemIds
from agents.cli.auditing import everything
from agents.cli.connect import log_of
from agents.cli.decisions import Desk, NotDecidable, Verdict
from agents.cli.output import DONE, FAILED, PARTLY, Json, Speaker, WrongUsage, command
from agents.cli.running import settings_here
from agents.kernel.codec import iso_time
from agents.kernel.topics import DAY_MS, load_topics
from schemas.dead_letter import Action, DeadLetter
from schemas.money import Money

BODY_BYTES_SHOWN = 20_000
"""Of the record that a letter is about; a longer one is an attack, and is not printed."""

dlq = typer.Typer(
    help="Dead letters: see them, send them back, close them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The letter's id.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="The letters' ids.")]
All = Annotated[bool, typer.Option("--all", help="Every open letter.")]
Why = Annotated[str, typer.Option(help="The reason; it stands in the audit log for ever.")]
Who = Annotated[str, typer.Option(help="Who decides. [default: the user of this machine]")]
Body = Annotated[
    Path | None, typer.Option(help="Replay with the body in this file instead of the old one.")
]


@dlq.command("list")
@command
async def list_(*, as_json: Json = False) -> int:
    """List the open letters, the oldest first, and what they owe."""
    speaker = Speaker(as_json=as_json)
    settings, _ = settings_here()
    async with log_of(settings) as log:
        desk = await desk_of(log)
    letters = desk.letters.open()
    for letter in letters:
        speaker.say(_line(letter))
    speaker.say(_summary(desk) if letters else "nothing waits for a person")
    speaker.result({"letters": [_short(letter) for letter in letters], "owed": _owed(desk)})
    return DONE


@dlq.command("show")
@command
async def show(letter_id: Id, *, as_json: Json = False) -> int:
    """Show one letter: what failed, why, and the record that it is about."""
    speaker = Speaker(as_json=as_json)
    settings, _ = settings_here()
    async with log_of(settings) as log:
        desk = await desk_of(log)
    letter = desk.letter(letter_id)
    for line in _pages(desk, letter):
        speaker.say(line)
    speaker.result({**letter.model_dump(mode="json"), "open": desk.letters.is_open(letter)})
    return DONE


@dlq.command("replay")
@command
async def replay(
    ids: Ids = None,
    *,
    why: Why,
    every: All = False,
    who: Who = "",
    body: Body = None,
    as_json: Json = False,
) -> int:
    """Send letters back to their agents, which process them under a new logical attempt."""
    edited = None
    if body is not None:
        if len(ids or ()) != 1 or every or not body.is_file():
            raise WrongUsage("--body takes a file that exists, and exactly one letter")
        edited = base64.b64encode(body.read_bytes()).decode()
    action: Action = "replay" if edited is None else "replay_edited"
    verdict = _verdict(action, who, why, edited)
    return await decide(Asked(tuple(ids or ()), every, verdict), Speaker(as_json=as_json))


@dlq.command("discard")
@command
async def discard(
    ids: Ids = None, *, why: Why, every: All = False, who: Who = "", as_json: Json = False
) -> int:
    """Close letters without doing anything more: the step counts as settled by a person."""
    verdict = _verdict("discard", who, why)
    return await decide(Asked(tuple(ids or ()), every, verdict), Speaker(as_json=as_json))


@dlq.command("resolve")
@command
async def resolve(
    ids: Ids = None, *, why: Why, every: All = False, who: Who = "", as_json: Json = False
) -> int:
    """Close letters whose step was done by hand, at the provider; the saga goes on."""
    verdict = _verdict("resolved_by_hand", who, why)
    return await decide(Asked(tuple(ids or ()), every, verdict), Speaker(as_json=as_json))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be decided, about which letters."""

    ids: Sequence[str]
    every: bool
    verdict: Verdict


async def decide(asked: Asked, speaker: Speaker) -> int:
    """Write the decisions; returns the exit code."""
    if bool(asked.ids) == asked.every:
        raise WrongUsage("name the letters, or say --all; see them by `chorale dlq list`")
    settings, _ = settings_here()
    async with log_of(settings) as log:
        desk = await desk_of(log)
        ids = [one.letter_id for one in desk.letters.open()] if asked.every else asked.ids
        decided, refused = await write(log, desk, ids, asked.verdict, settings.replay_window_ms)
    for why in refused.values():
        sys.stderr.write(f"chorale: {why}\n")
    for letter in decided:
        speaker.say(f"{asked.verdict.action}: {letter.letter_id}, by {asked.verdict.who}")
    if not ids:
        speaker.say("nothing waits for a person")
    speaker.say(_summary(desk))
    speaker.result(
        {"decided": [one.letter_id for one in decided], "refused": refused, "owed": _owed(desk)}
    )
    if not refused:
        return DONE
    return PARTLY if decided else FAILED


async def write(
    log: KafkaLog, desk: Desk, ids: Iterable[str], verdict: Verdict, window_ms: int
) -> tuple[list[DeadLetter], dict[str, str]]:
    """Decide about each letter; returns those decided, and why for the others."""
    decided: list[DeadLetter] = []
    refused: dict[str, str] = {}
    records = []
    for letter_id in dict.fromkeys(ids):
        try:
            letter = desk.decidable(letter_id)
            _refuse_old(letter, verdict, window_ms)
        except NotDecidable as error:
            refused[letter_id] = str(error)
            continue
        records.append(desk.decide(letter, verdict, SystemIds().token()))
        decided.append(letter)
    await log.publish(records)
    return decided, refused


async def desk_of(log: KafkaLog) -> Desk:
    """All letters and decisions. Raises LogUnavailable."""
    topics = load_topics()
    return Desk.of(await everything(log, topics), topics)


def _refuse_old(letter: DeadLetter, verdict: Verdict, window_ms: int) -> None:
    age_ms = verdict.now_ms - letter.raised_at_ms
    if verdict.action in ("replay", "replay_edited") and age_ms > window_ms:
        raise NotDecidable(
            f"letter {letter.letter_id} is {age_ms // DAY_MS} days old, and what would tell a "
            f"repeat from a first time is kept for {window_ms // DAY_MS}; settle it at the "
            "provider, then `chorale dlq resolve`"
        )


def _verdict(action: Action, who: str, why: str, edited: str | None = None) -> Verdict:
    if not why.strip():
        raise WrongUsage("--why must say something; it stands in the audit log for ever")
    return Verdict(action, who or getpass.getuser(), why, SystemClock().now_ms(), edited)


ERROR_SHOWN = 80
"""Of the error in a list; `dlq show` has all of it."""


def _line(letter: DeadLetter) -> str:
    error = f"{letter.error_type}: {letter.error}"
    if len(error) > ERROR_SHOWN:
        error = error[: ERROR_SHOWN - 3] + "..."
    return f"{letter.letter_id}\n  {_step(letter)}; {letter.cause}; owed {_owes(letter)}\n  {error}"


def _step(letter: DeadLetter) -> str:
    if not letter.step:
        return "unreadable record"
    return f"{letter.agent}.{letter.step}, {letter.direction}"


def _owes(letter: DeadLetter) -> str:
    owed = letter.owed
    goods = ", ".join(f"{line.quantity} x {line.sku}" for line in owed.stock)
    return "; ".join(filter(None, (str(owed.money or ""), goods, owed.shipment))) or "nothing"


def _pages(desk: Desk, letter: DeadLetter) -> Iterator[str]:
    decided = desk.letters.decided.get(letter.letter_id)
    state = "open" if desk.letters.is_open(letter) else "closed"
    if decided is not None:
        state = f"{decided.action} by {decided.who}, {iso_time(decided.when_ms)}: {decided.why}"
    origin = letter.origin
    yield f"letter    {letter.letter_id}"
    yield f"state     {state}"
    yield f"order     {letter.order_id or 'unknown'}"
    yield f"step      {_step(letter)}"
    yield f"attempt   {letter.attempt}, after {letter.tries} tries; {letter.cause}"
    yield f"raised    {iso_time(letter.raised_at_ms)}"
    yield f"error     {letter.error_type}: {letter.error}"
    yield f"owed      {_owes(letter)}"
    yield f"origin    {origin.topic}, partition {origin.partition}, offset {origin.offset}"
    body = base64.b64decode(origin.value_base64 or "")[:BODY_BYTES_SHOWN]
    yield f"body      {body.decode('utf-8', 'backslashreplace')}"


def _short(letter: DeadLetter) -> dict[str, Any]:
    return letter.model_dump(mode="json", exclude={"origin"})


def _summary(desk: Desk) -> str:
    sums: list[Money] = list(desk.owed().values())
    count = len(desk.letters.open())
    return f"{count} letter(s) open; still owed: {', '.join(map(str, sums)) or 'nothing'}"


def _owed(desk: Desk) -> dict[str, int]:
    return {currency: money.amount for currency, money in desk.owed().items()}
