"""One step in hand: call the handler, retry it within its budget, and say how it ends.

Refusals come back as events. Of the faults, `TransientFault` and `InDoubt` are retried with the
same key; when the budget is spent the step ends as its agent says (`give_up`), or as a dead
letter. `TerminalFault` is a dead letter at once; any other exception is a bug of ours: retried
within the budget, then a dead letter. The count of tries is kept in the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from agents.kernel.agent import Agent, GivenUp
from agents.kernel.codec import Stamp, child_traceparent, encode, pack, unpack
from agents.kernel.context import StepContext, forward_key, undo_key
from agents.kernel.dead_letter import Failure, encode_letter, letter_of
from agents.kernel.errors import (
    BreakerOpen,
    InDoubt,
    LeaseLost,
    StoreUnavailable,
    TerminalFault,
    TransientFault,
)
from agents.kernel.parts import Parts
from agents.kernel.persistence import Persistence
from agents.kernel.ports import Effect, Outgoing
from agents.kernel.protocol import (
    Direction,
    Finish,
    Read,
    Reply,
    Role,
    State,
    StepRecord,
    Touch,
    Verdict,
)
from agents.kernel.retry import Exhausted, RetryPolicy
from agents.kernel.routing import Job
from schemas.dead_letter import Direction as LetterDirection
from schemas.events import REASON_MAX, Event

HANDLER_SHARE_OF_LEASE = 2 / 3
"""A handler is cut off while a third of its lease is left to store the outcome."""

STOPS = (Role.STOP, Role.CONFIRM)
LONGER_LEASE = 2
"""An undoing makes up to four calls (find, cancel, refund, look) where a step makes one or two."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a step ends: what to store, or (for a refusal) only what to publish."""

    finish: Finish | None
    records: tuple[Outgoing, ...] = ()


@dataclass(slots=True)
class _InHand:
    """The step while it is worked on."""

    job: Job
    owner: str
    record: StepRecord
    ctx: StepContext
    tries: int
    leased_until_s: float
    epoch: int
    waited_s: float = 0.0


class Worker:
    """Works on the steps of one agent."""

    def __init__(self, agent: Agent, parts: Parts, persistence: Persistence) -> None:
        self._agent = agent
        self._parts = parts
        self._persistence = persistence
        self._topic = parts.topics.of_owner(agent.name)
        settings = parts.settings
        self._policy = RetryPolicy(settings.retries, settings.retry_base_ms / 1000)

    def lease_ms(self, job: Job) -> int:
        """How long this step is held without a sign of life."""
        undoes = job.handler.role in (Role.COMPENSATE, Role.SETTLE)
        return self._parts.settings.lease_ms * (LONGER_LEASE if undoes else 1)

    async def work(self, job: Job, owner: str, reply: Reply) -> Done:
        """Run the job's handler to its end. Raises LeaseLost if the step was taken over."""
        step = self._take(job, owner, reply)
        if job.by_hand and reply.verdict is not Verdict.BEGUN:
            return self._by_hand(step)
        if reply.verdict is Verdict.BEGUN:
            step.ctx.begun = True
            events = await self._call(step)
            stored = unpack(reply.record.blob) if reply.record.state is State.DONE else []
            return Done(None, (*stored, *self._encode(step, events)))
        return await self._work(step)

    def stamp_refusal(self, job: Job, event: Event) -> Outgoing:
        """The record of a refusal that no ledger record stands behind."""
        step = self._take(job, "", Reply(Verdict.CONTRADICTS))
        return self._encode(step, (event,), suffix=f":{job.trigger.body_hash}")[0]

    def _take(self, job: Job, owner: str, reply: Reply) -> _InHand:
        parts, record, trigger = self._parts, reply.record, job.trigger
        undoing = job.handler.role is Role.COMPENSATE
        key = (
            undo_key(trigger.order_id, job.step, record.undo_key_attempt)
            if undoing
            else forward_key(trigger.order_id, job.step, record.key_attempt)
        )
        now_ms = parts.clock.now_ms()
        lifetime_ms = parts.settings.saga_deadline_ms
        effect = Effect(
            key=key,
            order_id=trigger.order_id,
            # A stop has no attempts in the ledger; its letters count its readings.
            attempt=job.reading if job.handler.role in STOPS else record.attempt,
            fence=reply.fence,
            timeout_s=parts.settings.effect_timeout_ms / 1000,
            traceparent=child_traceparent(trigger.traceparent, trigger.order_id, key),
        )
        ctx = StepContext(
            order_id=trigger.order_id,
            step=job.step,
            effect=effect,
            now_ms=now_ms,
            placed_ms=(trigger.saga_deadline_ms or now_ms + lifetime_ms) - lifetime_ms,
            undo_attempt=record.undo_key_attempt,
            # A store born after the trigger may have forgotten an earlier try.
            doubt=record.doubt or 0 < trigger.time_ms < reply.epoch,
            progress=record.progress,
            key_attempts=self._key_attempts(trigger.order_id),
        )
        until_s = parts.clock.monotonic_s() + self.lease_ms(job) / 1000
        return _InHand(job, owner, record, ctx, record.tries, until_s, reply.epoch)

    def _key_attempts(self, order_id: str) -> Callable[[str], Awaitable[int]]:
        async def key_attempt(step: str) -> int:
            reply = await self._persistence.apply(Read(order_id))
            return dict(reply.records).get(step, StepRecord()).key_attempt

        return key_attempt

    async def _work(self, step: _InHand) -> Done:
        while True:
            try:
                return self._finished(step, await self._call(step))
            except (LeaseLost, StoreUnavailable):
                raise
            except BreakerOpen as error:
                if not await self._wait_for_breaker(step, error):
                    return self._given_up(step, error)
            except TerminalFault as error:
                return self._dead(step, error)
            except (TransientFault, InDoubt) as error:
                step.ctx.doubt |= isinstance(error, InDoubt)
                if not await self._retry(step, error):
                    return self._given_up(step, error)
            except Exception as error:  # noqa: BLE001 - a bug of ours is retried, then a letter
                step.ctx.doubt = True
                if not await self._retry(step, error):
                    return self._dead(step, error)

    async def _call(self, step: _InHand) -> tuple[Event, ...]:
        """One try. A time-out of the handler leaves its outcome in doubt."""
        parts, handler = self._parts, step.job.handler
        if parts.clock.monotonic_s() >= step.leased_until_s:
            raise LeaseLost
        step.ctx.now_ms = parts.clock.now_ms()
        limit_s = self.lease_ms(step.job) / 1000 * HANDLER_SHARE_OF_LEASE
        try:
            async with asyncio.timeout(limit_s):
                outcome = await handler.call(self._agent, step.job.trigger.event, step.ctx)
        except TimeoutError as error:
            raise InDoubt(f"{handler.name} did not end within {limit_s:.1f} s") from error
        if outcome is None:
            return ()
        return outcome if isinstance(outcome, tuple) else (outcome,)

    async def _retry(self, step: _InHand, error: Exception) -> bool:
        """Note the failed try and wait; False when the budget is spent."""
        step.tries += 1
        left_s = None
        if step.job.handler.declared.failing is not None and step.job.trigger.step_deadline_ms:
            now_ms = self._parts.clock.now_ms()
            left_s = (step.job.trigger.step_deadline_ms - now_ms) / 1000
        decision = self._policy.decide(step.tries, self._parts.random.random(), left_s)
        if isinstance(decision, Exhausted):
            return False
        self._parts.telemetry.retried(self._agent.name, step.job.step, type(error).__name__)
        await self._hold_for(step, decision.seconds)
        return True

    async def _wait_for_breaker(self, step: _InHand, error: BreakerOpen) -> bool:
        """Waiting for an open breaker costs no try; False when it has lasted too long."""
        wait_s = max(error.retry_after_s, 0.05)
        step.waited_s += wait_s
        if step.waited_s > self._parts.settings.breaker_wait_ms / 1000:
            return False
        await self._hold_for(step, wait_s)
        return True

    async def _hold_for(self, step: _InHand, seconds: float) -> None:
        """Keep the step while waiting: the lease outlives the wait and the try after it."""
        claimed = step.job.handler.role not in (Role.STOP, Role.CONFIRM)
        lease_ms = int(seconds * 1000) + self.lease_ms(step.job)
        if claimed:
            touch = Touch(
                order_id=step.ctx.order_id,
                step=step.job.step,
                owner=step.owner,
                fence=step.record.fence,
                lease_ms=lease_ms,
                tries=step.tries,
                doubt=step.ctx.doubt,
                progress=step.ctx.progress,
            )
            if (await self._persistence.apply(touch)).verdict is not Verdict.OK:
                raise LeaseLost
        step.leased_until_s = self._parts.clock.monotonic_s() + lease_ms / 1000
        await self._parts.clock.sleep(seconds)

    # ---- how a step ends ----------------------------------------------------------------------

    def _finished(
        self, step: _InHand, events: tuple[Event, ...], letters: tuple[Outgoing, ...] = ()
    ) -> Done:
        state = self._end_state(step, events)
        records = (*self._encode(step, events), *letters)
        return Done(self._finish(step, state, events, records))

    def _end_state(self, step: _InHand, events: tuple[Event, ...]) -> State:
        role = step.job.handler.role
        if role is Role.COMPENSATE:
            return State.COMPENSATED
        if role in (Role.STOP, Role.CONFIRM):
            forward = self._forward_emits(step.job.step)
            return State.DONE if any(type(e) in forward for e in events) else State.STOPPED
        return State.DONE

    def _forward_emits(self, name: str) -> set[type[Event]]:
        handlers = self._agent.handlers.values()
        return {e for h in handlers if h.step == name and h.role is Role.FORWARD for e in h.emits}

    def _finish(
        self,
        step: _InHand,
        state: State,
        events: tuple[Event, ...],
        records: tuple[Outgoing, ...],
    ) -> Finish:
        unclaimed = step.job.handler.role in (Role.STOP, Role.CONFIRM) and not step.job.letter
        return Finish(
            order_id=step.ctx.order_id,
            step=step.job.step,
            owner=step.owner,
            fence=step.record.fence,
            state=state,
            outcome=",".join(type(e).__name__ for e in events),
            open=any(self._reacts_itself(step.job.step, e) for e in events),
            blob=pack(records),
            direction=step.record.direction,
            unclaimed=unclaimed,
            epoch=step.epoch,
        )

    def _reacts_itself(self, name: str, event: Event) -> bool:
        handler = self._agent.handlers.get(type(event))
        own = (Role.CONTINUE, Role.SETTLE, Role.CONFIRM)
        return handler is not None and handler.step == name and handler.role in own

    def _given_up(self, step: _InHand, error: Exception) -> Done:
        job = step.job
        given = GivenUp(None)
        if "/" not in job.step:
            given = self._agent.give_up(job.handler, job.trigger.event, step.ctx, str(error))
        if given.event is None:
            return self._dead(step, error)
        letters = tuple(self._letter(step, error, part) for part in given.undelivered)
        return self._finished(step, (given.event,), letters)

    def _dead(self, step: _InHand, error: Exception) -> Done:
        if step.job.handler.role in (Role.STOP, Role.CONFIRM):
            return Done(None, (self._letter_of_record(step, error),))
        letter = self._letter(step, error)
        return Done(self._finish(step, State.DEAD, (), (letter,)))

    def letter_of_bug(self, job: Job, error: Exception) -> Outgoing:
        """A letter about a step whose ledger record nobody could bring to its end."""
        directions = {Role.COMPENSATE: "compensation", Role.SETTLE: "settle"}
        failure = Failure(
            agent=self._agent.name,
            error=error,
            cause="exhausted",
            step=job.step,
            direction=cast("LetterDirection", directions.get(job.handler.role, "forward")),
            attempt=job.letter.attempt + 1 if job.letter else 1,
            order_id=job.trigger.order_id,
        )
        now_ms = self._parts.clock.now_ms()
        letter = letter_of(failure, job.record, job.trigger.event, now_ms)
        return encode_letter(letter, self._parts.topics.letters, job.trigger.traceparent)

    def _letter_of_record(self, step: _InHand, error: Exception) -> Outgoing:
        """A stop that failed has touched no step: replaying it is reading its record again."""
        job, parts = step.job, self._parts
        failure = Failure(
            agent="",
            error=error,
            cause="exhausted",
            attempt=job.reading,
            tries=step.tries,
            order_id=step.ctx.order_id,
        )
        letter = letter_of(failure, job.record, job.trigger.event, parts.clock.now_ms())
        return encode_letter(letter, parts.topics.letters, step.ctx.effect.traceparent)

    def _letter(self, step: _InHand, error: Exception, part: str = "") -> Outgoing:
        job, parts = step.job, self._parts
        notified = bool(part) or "/" in job.step
        direction = Direction.FORWARD if part else Direction(step.record.direction or "forward")
        terminal = isinstance(error, TerminalFault)
        failure = Failure(
            agent=self._agent.name,
            error=error,
            cause="given_up" if notified else "terminal" if terminal else "exhausted",
            step=f"{job.step}/{part}" if part else job.step,
            direction=direction.value,
            attempt=1 if part else step.record.attempt,
            tries=step.tries,
            known="unknown" if step.ctx.doubt else "refused",
            order_id=step.ctx.order_id,
        )
        letter = letter_of(failure, job.record, job.trigger.event, parts.clock.now_ms())
        return encode_letter(letter, parts.topics.letters, step.ctx.effect.traceparent)

    def _by_hand(self, step: _InHand) -> Done:
        """A person has settled the step: finish it with its normal event, and go on."""
        event_type, trigger = step.job.handler.declared.by_hand, step.job.trigger.event
        if event_type is None:
            return self._finished(step, ())
        fields = {"order": trigger.order, "refs": trigger.refs}
        event = event_type(**fields, by="operator", reason=step.job.why[:REASON_MAX])
        return self._finished(step, (event,))

    def _encode(
        self, step: _InHand, events: tuple[Event, ...], suffix: str = ""
    ) -> tuple[Outgoing, ...]:
        job, settings = step.job, self._parts.settings
        now_ms = self._parts.clock.now_ms()
        if job.handler.role in (Role.STOP, Role.CONFIRM):
            suffix = f":{hashlib.sha256(job.cause.encode()).hexdigest()[:8]}"
        stamp = Stamp(
            agent=self._agent.name,
            topic=self._topic,
            order_id=step.ctx.order_id,
            step=job.step,
            effect_key=step.ctx.effect.key,
            attempt=step.record.attempt,
            now_ms=now_ms,
            cause=job.cause,
            saga_deadline_ms=job.trigger.saga_deadline_ms or now_ms + settings.saga_deadline_ms,
            step_deadline_ms=now_ms + settings.step_deadline_ms,
            traceparent=job.trigger.traceparent,
            suffix=suffix,
        )
        return tuple(encode(event, stamp) for event in events)
