"""`chorale demo`: the whole system, every story, the operator's part, and the audit; then the end.

    start -> for each group: place, follow -> replay what waits -> follow -> table, audit -> stop

It runs in a data folder of its own that begins empty, with embedded broker and store, so that it
shows the same on every machine. Exit code 0 means: every order ended as its story says, and the
audit is balanced.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.adapters.kafka import KafkaLog
from agents.adapters.system import SystemClock
from agents.audit import Report
from agents.cli import auditing
from agents.cli.connect import log_of
from agents.cli.decisions import Verdict
from agents.cli.demo_orders import (
    CUSTOMER,
    Example,
    Following,
    Placing,
    Told,
    groups_of,
    read_examples,
)
from agents.cli.dlq import desk_of, write
from agents.cli.follow import Sight
from agents.cli.gateway_client import gateway, token_of
from agents.cli.machine import Machine, Wish
from agents.cli.output import DONE, FAILED, Json, Speaker, command
from agents.cli.running import environment
from agents.cli.sagas import saga_store
from agents.cli.up import refuse_a_second, until_signalled
from agents.scenarios import End

FOLDER = "demo"
"""Below the data folder."""
GROUP_S = 45.0
"""A group ends within some ten seconds; more means that something is stuck."""
REPLAY_S = 30.0
"""A replay acts at once, unless a breaker is still open."""
NOTIFIED_S = 10.0
"""The notifications of the last orders."""
AUDIT_LOOKS = 20
"""One a second: a late label at FedEx is cancelled only when its breaker has closed again."""
QUICK = {"CHORALE_EFFECT_TIMEOUT_MS": "1500", "CHORALE_RETRY_BASE_MS": "200"}
"""So that a slow carrier costs seconds, not half a minute; the numbers of retries stay."""


@dataclass(slots=True)
class _Story:
    """The demo while it runs."""

    machine: Machine
    speaker: Speaker
    groups: dict[str, list[Example]]
    told: list[Told] = field(default_factory=list)
    report: Report | None = None

    @property
    def good(self) -> bool:
        """Whether everything went as it must."""
        placed = sum(map(len, self.groups.values()))
        complete = len(self.told) == placed and all(told.as_expected for told in self.told)
        return complete and self.report is not None and self.report.balanced


@command
async def demo(*, as_json: Json = False) -> int:
    """Run every story once and compare; takes about a minute, and stops everything again."""
    speaker = Speaker(as_json=as_json)
    folder = Path(environment().data_dir) / FOLDER
    fresh = {"bootstrap": "", "store_url": "", "providers_url": "", "jwt_secret_file": ""}
    settings = environment().model_copy(update={**fresh, "data_dir": str(folder)})
    refuse_a_second(settings)
    shutil.rmtree(folder, ignore_errors=True)
    machine = Machine(Wish(settings, agent_settings=QUICK), speaker.say)
    story = _Story(machine, speaker, groups_of(read_examples()))
    began_s = time.monotonic()

    async def work() -> None:
        await _tell(story)

    async def end() -> bool:
        speaker.say("ending everything ...")
        return await machine.stop()

    in_order = await until_signalled(work, end)
    took_s = time.monotonic() - began_s
    for line in (*_verdict(story), *_next(folder, took_s)):
        speaker.say(line)
    speaker.result({**_document(story), "stopped_in_order": in_order, "took_s": round(took_s, 1)})
    return DONE if story.good and in_order else FAILED


async def _tell(story: _Story) -> None:
    say, machine = story.speaker.say, story.machine
    say("starting broker, store, provider simulator and six agents, one process each ...")
    began_s = time.monotonic()
    await machine.start()
    say(f"  all ready after {time.monotonic() - began_s:.1f} s; for the demo's sake a provider's")
    say("  time-out is 1.5 s instead of 5, and the first back-off 0.2 s instead of 1")
    settings, address = machine.settings, machine.running.gateway_url
    async with (
        log_of(settings) as log,
        saga_store(settings) as (store, view),
        gateway(address, token_of(settings, CUSTOMER)) as client,
    ):
        placing, following = Placing(client, log), Following(store, view)
        for name, examples in story.groups.items():
            await _play(story, name, placing, following, examples)
        await _operate(story, log, following)
        say("auditing: log against the providers' ledger ...")
        story.report = await auditing.settled_report(settings, log, AUDIT_LOOKS)


async def _play(
    story: _Story, name: str, placing: Placing, following: Following, examples: Sequence[Example]
) -> None:
    began_s = time.monotonic()
    told = await placing.group(examples)
    orders = [one.order_id for one in told]
    sights = await following.until(orders, lambda sight: sight.end is not None, GROUP_S)
    for one in told:
        one.first = one.last = sights[one.order_id].end if one.order_id in sights else None
    story.told += told
    ended = sum(one.first is not None for one in told)
    took_s = time.monotonic() - began_s
    story.speaker.say(f"group {name}: {ended} of {len(told)} orders ended in {took_s:.1f} s")


async def _operate(story: _Story, log: KafkaLog, following: Following) -> None:
    """The operator's part: send back what waits, and see how it ends then."""
    desk = await desk_of(log)
    letters = desk.letters.open()
    verdict = Verdict("replay", "demo", "the provider answers again", SystemClock().now_ms())
    window_ms = story.machine.settings.replay_window_ms
    await write(log, desk, [letter.letter_id for letter in letters], verdict, window_ms)
    for letter in letters:
        story.speaker.say(
            f"replayed {letter.letter_id}, which owed {letter.owed.money or 'nothing'}"
        )
    waiting = [told for told in story.told if told.first is End.PERSON]
    sights = await following.until([t.order_id for t in waiting], _over, REPLAY_S)
    for told in waiting:
        sight = sights.get(told.order_id)
        told.last = sight.end if sight else None
    everybody = [told.order_id for told in story.told]
    await following.until(everybody, lambda sight: "Notified" in sight.seen, NOTIFIED_S)


def _over(sight: Sight) -> bool:
    return sight.status.terminal and not sight.waiting_for_person


def _verdict(story: _Story) -> list[str]:
    lines = ["", f"{'scenario':<20}{'orders':>7}  {'expected':<22}{'after replay':<14}verdict"]
    for name in dict.fromkeys(told.example.story.name for told in story.told):
        told = [one for one in story.told if one.example.story.name == name]
        ends = {(one.expected.first.value, one.expected.replayed.value) for one in told}
        first, last = next(iter(ends)) if len(ends) == 1 else ("by its order id", "")
        replayed = last if first == End.PERSON else ""
        wrong = [one for one in told if not one.as_expected]
        verdict = "as expected" if not wrong else f"{len(wrong)} WRONG"
        lines.append(f"{name:<20}{len(told):>7}  {first:<22}{replayed:<14}{verdict}")
        lines += [f"  {_wrong(one)}" for one in wrong]
    if story.report is not None:
        lines += ["", *auditing.lines(story.report)]
    return lines


def _wrong(told: Told) -> str:
    return (
        f"{told.order_id}: expected {told.expected.first}, then {told.expected.replayed}; "
        f"was {told.first or 'not ended'}, then {told.last or 'not ended'}"
    )


def _next(folder: Path, took_s: float) -> list[str]:
    return [
        "",
        f"The demo took {took_s:.0f} s. Its logs are in {folder / 'logs'}.",
        "Next: `chorale up` runs the system until Ctrl-C, and `chorale order` in a second terminal",
        "places an order; docs/architecture.md says how it hangs together.",
    ]


def _document(story: _Story) -> dict[str, Any]:
    orders = [
        {
            "order_id": one.order_id,
            "scenario": one.example.story.name,
            "expected": [one.expected.first, one.expected.replayed],
            "ended": [one.first, one.last],
            "as_expected": one.as_expected,
        }
        for one in story.told
    ]
    audit = auditing.document(story.report) if story.report is not None else None
    return {"good": story.good, "orders": orders, "audit": audit}
