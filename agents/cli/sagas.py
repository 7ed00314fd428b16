"""`chorale status` and `chorale sagas`: what the tracker knows, read from its store."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agents.adapters.system import SystemClock
from agents.bootstrap import choreography
from agents.cli.connect import store_of
from agents.cli.follow import sight_of_view
from agents.cli.output import DONE, FAILED, Json, Speaker, WrongUsage, command
from agents.cli.running import settings_here
from agents.kernel.ports import SagaRow, SagaStore
from agents.kernel.settings import Settings
from agents.kernel.topics import load_topics
from agents.sightings import SagaView, view_of
from schemas.money import Money
from schemas.saga import SagaStatus

ROWS_MAX = 1_000
"""As many ended sagas as the store lists."""
ViewRow = Callable[[SagaRow], SagaView]

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STATES = ", ".join(SagaStatus)

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")]
State = Annotated[str, typer.Option(help=f"Only sagas in this state: {_STATES}.")]
OlderThan = Annotated[str, typer.Option(help="Only sagas that began so long ago, as 30s, 5m, 2h.")]
Limit = Annotated[int, typer.Option(min=1, max=ROWS_MAX, help="How many, the newest first.")]


@command
async def status(order_id: OrderId, *, as_json: Json = False) -> int:
    """Show one order: where it stands and what happened to it, event by event."""
    settings, _ = settings_here()
    speaker = Speaker(as_json=as_json)
    async with saga_store(settings) as (store, view_row):
        row = await store.get(order_id)
    if row is None:
        speaker.say(f"the tracker knows no order {order_id}; see the latest by `chorale sagas`")
        speaker.result({"error": {"type": "NotFound", "message": f"no order {order_id}"}})
        return FAILED
    view = view_row(row)
    for line in _timeline(view):
        speaker.say(line)
    speaker.result({**sight_of_view(view).document(), "letters": _letters(view)})
    return DONE


@command
async def sagas(
    *, state: State = "", older_than: OlderThan = "0s", limit: Limit = 20, as_json: Json = False
) -> int:
    """List orders, the newest first."""
    if state and state.upper() not in list(SagaStatus):
        raise WrongUsage(f"there is no state {state!r}; there are {_STATES}")
    before_ms = SystemClock().now_ms() - seconds_of(older_than) * 1000 + 1
    settings, _ = settings_here()
    speaker = Speaker(as_json=as_json)
    async with saga_store(settings) as (store, view_row):
        rows = await store.find(state.upper(), before_ms, limit)
    views = [view_row(row) for row in rows]
    if views:
        speaker.say(f"{'ORDER':<28} {'STATE':<19} {'BEGAN':<9} {'LAST EVENT':<22} TOTAL")
    for view in views:
        speaker.say(_line(view))
    if len(views) == limit:
        speaker.say(f"the newest {limit}; see more by --limit")
    if not views:
        speaker.say("no such orders; place one with `chorale order`")
    speaker.result({"sagas": [_summary(view) for view in views]})
    return DONE


@asynccontextmanager
async def saga_store(settings: Settings) -> AsyncIterator[tuple[SagaStore, ViewRow]]:
    """The tracker's store, and how its rows are read. Raises StoreUnavailable."""
    undone_by = choreography(load_topics()).undone_by
    async with store_of(settings) as store:
        await store.ledger.guard.read()
        yield store.stores.sagas, lambda row: view_of(row, undone_by)


def seconds_of(text: str) -> int:
    """The seconds of a duration such as 30s, 5m, 2h, 1d. Raises WrongUsage."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise WrongUsage(f"{text!r} is no duration; write for example 30s, 5m, 2h or 1d")
    return int(match[1]) * _UNITS_S[match[2]]


def _timeline(view: SagaView) -> Iterator[str]:
    sight = sight_of_view(view)
    emitters = choreography(load_topics()).emitters
    how = f"after {sight.duration_s:.2f} s" if view.status.terminal else "so far"
    total = _total(view)
    yield f"order {sight.order_id}  {view.status.value} {how}{f'  {total}' if total else ''}"
    for ms, name in sight.events:
        agent = next(iter(emitters(name)), "")
        moment = datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
        reason = view.row.facts[name].reason
        yield f"  {moment}Z  {agent:<13} {name:<21} {reason}".rstrip()
    for letter in _letters(view):
        yield (
            f"  waits for a person: letter {letter['letter_id']}, {letter['error_type']}; "
            f"see `chorale dlq show {letter['letter_id']}`"
        )


def _letters(view: SagaView) -> list[dict[str, str]]:
    names = ("letter_id", "step", "direction", "attempt", "error_type")
    return [dict(zip(names, text.split("|"), strict=False)) for text in view.letters_open.values()]


def _line(view: SagaView) -> str:
    began = datetime.fromtimestamp(view.started_ms / 1000, tz=UTC).strftime("%H:%M:%S")
    last = max(sight_of_view(view).events, default=(0, ""))[1]
    note = "  waits for a person" if view.waiting_for_person else ""
    status = view.status.value
    return f"{view.row.order_id:<28} {status:<19} {began}Z  {last:<22} {_total(view)}{note}"


def _summary(view: SagaView) -> dict[str, Any]:
    sight = sight_of_view(view)
    return {
        "order_id": view.row.order_id,
        "status": view.status.value,
        "waiting_for_person": view.waiting_for_person,
        "started_ms": view.started_ms,
        "updated_ms": view.updated_ms,
        "duration_s": sight.duration_s,
        "last_event": max(sight.events, default=(0, ""))[1],
    }


def _total(view: SagaView) -> str:
    if not view.row.snapshot:
        return ""
    return str(Money.model_validate(json.loads(view.row.snapshot)["order"]["total"]))
