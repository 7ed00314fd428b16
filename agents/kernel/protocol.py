"""The step protocol: one ledger record per (order, step), and the only ways it may change.

    none ──begin──> INFLIGHT ──finish──> DONE | DEAD(forward)
    DONE(open) ──continue──> INFLIGHT                    (CarrierSwitched: the second carrier)
    DONE(open) ──settle──> COMPENSATING ──finish──> DONE | DEAD(settle)        (…Failing)
    none ──stop──> STOPPED(open) ──confirm──> STOPPED    (a step that has begun is not stopped)
    any but a live or COMPENSATED one ──compensate──> COMPENSATING ──finish──> COMPENSATED | DEAD
    DEAD ──decision──> INFLIGHT | COMPENSATING           (one logical attempt further)
    all settled ──compact──> OVER

This module is the protocol as a pure function: `apply(records, request, now_ms, epoch)`. The
in-memory ledger calls it; the Redis ledger runs the same function written in Lua
(`agents/adapters/ledger.lua`), and a differential test holds the two equal. Time is always the
store's own. Every request is safe to send twice by the same owner.

An outcome is *open* when the step's own agent reacts to it (CreateFailing, CarrierSwitched,
CaptureStopping): the step is not settled by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

OVER = "over"
"""The one record that is left of a compacted saga; its trigger is that of the step `place`."""


class State(StrEnum):
    """State of one step of one order."""

    NONE = "none"
    INFLIGHT = "inflight"
    DONE = "done"
    STOPPED = "stopped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    DEAD = "dead"
    OVER = "over"


class Direction(StrEnum):
    """What the step is doing, or was doing when it died."""

    FORWARD = "forward"
    SETTLE = "settle"
    COMPENSATION = "compensation"


class Role(StrEnum):
    """What a trigger asks of a step."""

    FORWARD = "forward"
    CONTINUE = "continue"
    """Go on after an own decision that stands in the log (CarrierSwitched)."""
    SETTLE = "settle"
    """Settle the step's doubt at the provider (…Failing)."""
    COMPENSATE = "compensate"
    STOP = "stop"
    """Refuse the step from now on, unless it has begun."""
    CONFIRM = "confirm"
    """Look again at a stop that stands in the log, then confirm it."""
    DECIDE = "decide"
    """Reopen a dead step on an operator's decision."""


class Verdict(StrEnum):
    """The ledger's answer."""

    OURS = "ours"
    BUSY = "busy"
    REPUBLISH = "republish"
    LETTER = "letter"
    DROPPED = "dropped"
    BEGUN = "begun"
    """A stop came too late: the step has begun or is done."""
    CONTRADICTS = "contradicts"
    STALE = "stale"
    OK = "ok"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The ledger's memory of one step."""

    state: State = State.NONE
    owner: str = ""
    lease_until_ms: int = 0
    fence: int = 0
    """Raised with every change of owner."""
    tries: int = 0
    """Failed tries of the present attempt and direction; a crash does not reset it."""
    attempt: int = 1
    key_attempt: int = 1
    """The attempt in the forward effect key; raised only after a known refusal."""
    undo_key_attempt: int = 1
    doubt: bool = False
    """Whether some try of this attempt may have taken effect without our knowing."""
    direction: str = ""
    trigger: str = ""
    """`id#hash` of the forward trigger."""
    outcome: str = ""
    """Comma-separated event types of the stored outcome."""
    open: bool = False
    blob: str = ""
    """The stored outcome: events to publish again, or the dead letter."""
    progress: str = ""
    """Free text of a step in flight, such as which of 23 targets were served."""

    def live(self, now_ms: int) -> bool:
        """Whether somebody holds the step now."""
        working = self.state in (State.INFLIGHT, State.COMPENSATING)
        return working and self.lease_until_ms > now_ms


NOTHING = StepRecord()


@dataclass(frozen=True, slots=True)
class Begin:
    """Ask for a step."""

    order_id: str
    step: str
    role: Role
    owner: str
    lease_ms: int
    trigger: str = ""
    """`id#hash` of the trigger; compared for `Role.FORWARD` only."""
    trigger_type: str = ""
    group: tuple[str, ...] = ()
    """Further steps that a compensation refuses from now on."""
    letter_attempt: int = 0
    letter_direction: str = ""
    letter_known: bool = False
    """Whether the letter's last answer was a definite refusal."""


@dataclass(frozen=True, slots=True)
class Touch:
    """Extend the lease, note a failed try or progress; lease 0 gives the step back."""

    order_id: str
    step: str
    owner: str
    fence: int
    lease_ms: int
    tries: int
    doubt: bool
    progress: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """Store the outcome, if the step is still ours (compare-and-set on owner and fence)."""

    order_id: str
    step: str
    owner: str
    fence: int
    state: State
    outcome: str = ""
    open: bool = False
    blob: str = ""
    direction: str = ""
    unclaimed: bool = False
    """The step was never claimed (a stop); it must be as it was at begin."""
    epoch: int = 0
    """The store's epoch at begin, which must still be the same; 0 leaves it unchecked."""


@dataclass(frozen=True, slots=True)
class Read:
    """All records of an order."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Compact:
    """Replace all records of an ended saga by one small one, if they are still as they were."""

    order_id: str
    fences: tuple[tuple[str, int], ...]
    """Step and fence of every record, in the order of their names."""
    ttl_ms: int


Request = Begin | Touch | Finish | Read | Compact
Records = dict[str, StepRecord]


@dataclass(frozen=True, slots=True)
class Reply:
    """The ledger's answer to one request."""

    verdict: Verdict
    record: StepRecord = NOTHING
    epoch: int = 0
    """The store's birth, in milliseconds; with `record.fence` it orders all owners ever."""
    records: tuple[tuple[str, StepRecord], ...] = ()

    @property
    def fence(self) -> str:
        """The fencing token `{epoch}.{n}`."""
        return f"{self.epoch}.{self.record.fence}"


def apply(records: Records, request: Request, now_ms: int, epoch: int = 0) -> Reply:
    """Apply one request to the records of its order, in place."""
    match request:
        case Begin():
            verdict, record = _begin(records, request, now_ms)
            return Reply(verdict, record, epoch)
        case Touch():
            verdict, record = _touch(records, request, now_ms)
            return Reply(verdict, record, epoch)
        case Finish():
            verdict, record = _finish(records, request, epoch)
            return Reply(verdict, record, epoch)
        case Read():
            return Reply(Verdict.OK, NOTHING, epoch, tuple(sorted(records.items())))
        case Compact():
            return Reply(_compact(records, request), NOTHING, epoch)
        case _:
            assert_never(request)


Answer = tuple[Verdict, StepRecord]


def _begin(records: Records, ask: Begin, now_ms: int) -> Answer:
    if OVER in records:
        return _begin_after_the_end(records[OVER], ask)
    record = records.get(ask.step, NOTHING)
    for name in (ask.step, *ask.group):
        held = records.get(name, NOTHING)
        if held.live(now_ms) and ask.role not in (Role.STOP, Role.CONFIRM):
            if held.owner != ask.owner or name != ask.step:
                return Verdict.BUSY, held
            return Verdict.OURS, record
    match ask.role:
        case Role.FORWARD:
            return _forward(records, ask, record, now_ms)
        case Role.CONTINUE | Role.SETTLE:
            return _go_on(records, ask, record, now_ms)
        case Role.COMPENSATE:
            return _compensate(records, ask, record, now_ms)
        case Role.STOP | Role.CONFIRM:
            return _stop(ask, record)
        case Role.DECIDE:
            return _decide(records, ask, record, now_ms)
        case _:
            assert_never(ask.role)


def _begin_after_the_end(over: StepRecord, ask: Begin) -> Answer:
    if ask.role in (Role.STOP, Role.CONFIRM):
        return Verdict.BEGUN, over
    if ask.role is Role.DECIDE:
        return Verdict.STALE, over
    if ask.step == "place" and over.trigger and ask.trigger != over.trigger:
        return Verdict.CONTRADICTS, over
    return Verdict.DROPPED, over


def _claim(records: Records, ask: Begin, now_ms: int, record: StepRecord) -> Answer:
    claimed = replace(
        record, owner=ask.owner, lease_until_ms=now_ms + ask.lease_ms, fence=record.fence + 1
    )
    records[ask.step] = claimed
    return Verdict.OURS, claimed


def _forward(records: Records, ask: Begin, record: StepRecord, now_ms: int) -> Answer:
    if _contradicts(record.trigger, ask.trigger):
        return Verdict.CONTRADICTS, record
    match record.state:
        case State.NONE:
            fresh = StepRecord(
                state=State.INFLIGHT, direction=Direction.FORWARD, trigger=ask.trigger
            )
            return _claim(records, ask, now_ms, fresh)
        case State.INFLIGHT if not record.open:
            return _claim(records, ask, now_ms, replace(record, doubt=True))
        case State.INFLIGHT | State.DONE:
            # After an own decision (CarrierSwitched) only that decision's record goes on.
            return Verdict.REPUBLISH, record
        case State.COMPENSATING if record.direction == Direction.SETTLE:
            return Verdict.REPUBLISH, record
        case State.DEAD:
            return Verdict.LETTER, record
        case _:
            return Verdict.DROPPED, record


def _contradicts(known: str, trigger: str) -> bool:
    """Same trigger id, other body."""
    return known != trigger and known.partition("#")[0] == trigger.partition("#")[0] != ""


def _go_on(records: Records, ask: Begin, record: StepRecord, now_ms: int) -> Answer:
    settles = ask.role is Role.SETTLE
    match record.state:
        case State.DEAD:
            return Verdict.LETTER, record
        case State.STOPPED | State.COMPENSATED:
            return Verdict.DROPPED, record
        case State.COMPENSATING if not settles or record.direction == Direction.COMPENSATION:
            return Verdict.DROPPED, record
        case State.DONE if not record.open:
            return Verdict.REPUBLISH, record
        case State.DONE if not settles and record.outcome != ask.trigger_type:
            return Verdict.REPUBLISH, record
    taken_over = record.state in (State.INFLIGHT, State.COMPENSATING)
    going = replace(
        record,
        state=State.COMPENSATING if settles else State.INFLIGHT,
        direction=Direction.SETTLE if settles else Direction.FORWARD,
        tries=record.tries if taken_over else 0,
        # Of this part of the step: what came before it is told by the decision's event.
        doubt=taken_over,
        # The decision stands in the log even if the ledger has forgotten it: the forward trigger
        # may never again go on from before it.
        open=True,
    )
    return _claim(records, ask, now_ms, going)


def _compensate(records: Records, ask: Begin, record: StepRecord, now_ms: int) -> Answer:
    undoing = record.direction == Direction.COMPENSATION
    if record.state is State.COMPENSATED:
        return Verdict.REPUBLISH, record
    if record.state is State.DEAD and undoing:
        return Verdict.LETTER, record
    _refuse_group(records, ask)
    if record.state is State.COMPENSATING and undoing:
        return _claim(records, ask, now_ms, replace(record, doubt=True))
    fresh = replace(
        record,
        state=State.COMPENSATING,
        direction=Direction.COMPENSATION,
        attempt=1,
        undo_key_attempt=1,
        tries=0,
        doubt=False,
        open=False,
        blob="",
        outcome="",
        progress="",
    )
    return _claim(records, ask, now_ms, fresh)


def _refuse_group(records: Records, ask: Begin) -> None:
    for name in ask.group:
        other = records.get(name, NOTHING)
        records[name] = replace(
            other,
            state=State.STOPPED,
            owner="",
            lease_until_ms=0,
            fence=other.fence + 1,
            open=False,
        )


def _stop(ask: Begin, record: StepRecord) -> Answer:
    match record.state:
        case State.NONE:
            return Verdict.OURS, record
        case State.STOPPED if record.open and ask.role is Role.CONFIRM:
            return Verdict.OURS, record
        case State.STOPPED:
            return Verdict.REPUBLISH, record
        case _:
            return Verdict.BEGUN, record


def _decide(records: Records, ask: Begin, record: StepRecord, now_ms: int) -> Answer:
    record = _as_the_letter_says(record, ask)
    if record.direction == Direction.COMPENSATION != ask.letter_direction:
        return Verdict.STALE, record
    reopened = record.attempt == ask.letter_attempt + 1
    match record.state:
        case State.INFLIGHT | State.COMPENSATING if reopened and record.outcome:
            # The replay has led to a decision of the agent (CarrierSwitched), which goes on.
            return Verdict.REPUBLISH, record
        case State.INFLIGHT | State.COMPENSATING if reopened:
            return _claim(records, ask, now_ms, replace(record, doubt=True))
        case State.DONE | State.COMPENSATED if reopened:
            return Verdict.REPUBLISH, record
        case State.DEAD if reopened:
            return Verdict.LETTER, record
        case State.DEAD if record.attempt == ask.letter_attempt:
            return _reopen(records, ask, record, now_ms)
        case _:
            return Verdict.STALE, record


def _as_the_letter_says(record: StepRecord, ask: Begin) -> StepRecord:
    """A ledger behind the letter (Redis has forgotten) is brought up to it.

    Attempts are counted anew by a compensation, so they compare within one direction only.
    """
    undoing = ask.letter_direction == Direction.COMPENSATION
    if undoing != (record.direction == Direction.COMPENSATION):
        behind = undoing and record.state is not State.COMPENSATED
    elif record.attempt > ask.letter_attempt:
        behind = False
    else:
        behind = (
            record.state in (State.NONE, State.INFLIGHT, State.COMPENSATING)
            or (record.state is State.DONE and record.open)
            or (record.state is State.DEAD and record.attempt < ask.letter_attempt)
        )
    if not behind:
        return record
    return replace(
        record,
        state=State.DEAD,
        attempt=ask.letter_attempt,
        direction=ask.letter_direction,
        open=record.open and not undoing,
    )


def _reopen(records: Records, ask: Begin, record: StepRecord, now_ms: int) -> Answer:
    attempt = ask.letter_attempt + 1
    undoing = record.direction == Direction.COMPENSATION
    forward = record.direction == Direction.FORWARD
    if undoing:
        _refuse_group(records, ask)
    reopened = replace(
        record,
        state=State.INFLIGHT if forward else State.COMPENSATING,
        attempt=attempt,
        key_attempt=attempt if forward and ask.letter_known else record.key_attempt,
        undo_key_attempt=attempt if not forward and ask.letter_known else record.undo_key_attempt,
        tries=0,
        doubt=not ask.letter_known,
        blob="",
        outcome="",
    )
    return _claim(records, ask, now_ms, reopened)


def _touch(records: Records, note: Touch, now_ms: int) -> Answer:
    record = records.get(note.step, NOTHING)
    working = record.state in (State.INFLIGHT, State.COMPENSATING)
    if not working or (record.owner, record.fence) != (note.owner, note.fence):
        return Verdict.LOST, record
    noted = replace(
        record,
        lease_until_ms=now_ms + note.lease_ms,
        tries=note.tries,
        doubt=note.doubt,
        progress=note.progress,
    )
    records[note.step] = noted
    return Verdict.OK, noted


def _finish(records: Records, done: Finish, epoch: int) -> Answer:
    if OVER in records or done.epoch not in (0, epoch):
        return Verdict.LOST, NOTHING
    record = records.get(done.step, NOTHING)
    working = record.state in (State.INFLIGHT, State.COMPENSATING)
    left = (done.owner, done.state, done.fence + 1 if done.unclaimed else done.fence)
    if (record.owner, record.state, record.fence) == left and not working:
        return Verdict.OK, record
    ours = working and record.owner == done.owner
    if done.unclaimed:
        ours = record.state is State.NONE or (record.state is State.STOPPED and record.open)
    if not ours or record.fence != done.fence:
        return Verdict.LOST, record
    finished = replace(
        record,
        state=done.state,
        owner=done.owner,
        lease_until_ms=0,
        fence=record.fence + 1 if done.unclaimed else record.fence,
        outcome=done.outcome,
        open=done.open or (done.state is State.DEAD and record.open),
        blob=done.blob,
        direction=done.direction or record.direction,
        progress="",
    )
    records[done.step] = finished
    return Verdict.OK, finished


def _compact(records: Records, ask: Compact) -> Verdict:
    if OVER in records:
        return Verdict.OK
    if tuple((name, r.fence) for name, r in sorted(records.items())) != ask.fences:
        return Verdict.LOST
    place = records.get("place", NOTHING)
    records.clear()
    records[OVER] = StepRecord(state=State.OVER, trigger=place.trigger)
    return Verdict.OK
