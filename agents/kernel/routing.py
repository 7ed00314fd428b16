"""Which of an agent's handlers a record is for, and in which lane it runs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from agents.kernel import codec
from agents.kernel.agent import Agent, Handler
from agents.kernel.codec import Trigger
from agents.kernel.dead_letter import record_of
from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Record
from agents.kernel.submission import Submission, submission_of
from agents.kernel.topics import Topics
from schemas import envelope
from schemas.dead_letter import DeadLetter, OperatorDecision
from schemas.events import EVENTS

HTTP_TOPIC = "http"
"""Where records say they come from that came over HTTP; their body is that of a submission."""


@dataclass(frozen=True, slots=True)
class Job:
    """One trigger for one handler."""

    record: Record
    """The record that a dead letter would be written about."""
    trigger: Trigger
    handler: Handler
    step: str
    cause: str
    """Id of the event or decision that asks for the step now."""
    letter: DeadLetter | None = None
    """The letter that a decision reopens."""
    by_hand: bool = False
    """A person has settled the step; its normal event is all that is missing."""
    why: str = ""
    reading: int = 1
    """How often the record was read on somebody's decision, and once."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision about a record that nobody could read."""

    poison: DeadLetter
    replays: bool
    why: str = ""
    edited_value: str | None = None


class Router:
    """Finds lane and job of a record."""

    def __init__(self, agent: Agent, topics: Topics) -> None:
        self._agent = agent
        self._topics = topics
        handlers = agent.handlers
        self._intake = next((h for h in handlers.values() if h.declared.intake), None)
        self._by_name = {t.__name__: h for t, h in handlers.items() if not h.declared.intake}

    def lane_of(self, record: Record) -> str | None:
        """The lane, or None for a record that concerns this agent not at all."""
        own = f"{record.topic}:{record.partition}:{record.offset}"
        if record.topic == self._topics.decisions:
            concerned = record.header(envelope.AGENT) in ("", self._agent.name)
            return _key(record) or own if concerned else None
        if record.topic == self._topics.inbox:
            try:
                return submission_of(record).order_id
            except PoisonRecord:
                return own
        try:
            name, _ = codec.type_of(record)
        except PoisonRecord:
            return own
        if name in self._by_name or name not in EVENTS:
            return _key(record) or own
        return None

    def job_of(self, record: Record) -> Job | Decided | None:
        """What is to be done. Raises PoisonRecord."""
        if record.topic == self._topics.decisions:
            return self._decision(record)
        return self._job(record)

    def _job(self, record: Record) -> Job | None:
        if record.topic in (self._topics.inbox, HTTP_TOPIC):
            if self._intake is None:
                return None
            trigger = submitted(submission_of(record), record.header(envelope.TRACEPARENT))
            handler = self._intake
        else:
            name, _ = codec.type_of(record)
            if name in EVENTS and name not in self._by_name:
                return None
            trigger = codec.decode(record)
            handler = self._by_name[trigger.type]
        return Job(record, trigger, handler, handler.step, trigger.id)

    def _decision(self, record: Record) -> Job | Decided | None:
        try:
            decision = OperatorDecision.model_validate_json(record.value or b"")
        except ValidationError as error:
            raise PoisonRecord(f"not a decision: {error.errors()[0]['msg']}") from error
        letter = decision.letter
        if letter.origin.topic == HTTP_TOPIC and self._intake and letter.step != self._intake.step:
            raise PoisonRecord(f"{letter.step} came over HTTP and cannot be replayed; ask again")
        replays = decision.action in ("replay", "replay_edited")
        if not letter.step:
            why = f"{decision.action} by {decision.who}: {decision.why}"
            return Decided(letter, replays, why, decision.edited_value_base64)
        if letter.agent != self._agent.name:
            return None
        job = self._job(record_of(letter, decision.edited_value_base64))
        if job is None:
            raise PoisonRecord(f"letter {letter.letter_id} has a trigger that is not handled here")
        return Job(
            record=job.record,
            trigger=job.trigger,
            handler=job.handler,
            step=letter.step,
            cause=decision.decision_id,
            letter=letter,
            by_hand=not replays,
            why=f"{decision.action} by {decision.who}: {decision.why}",
        )


def submitted(submission: Submission, traceparent: str) -> Trigger:
    """A submission as the trigger of the step `place`."""
    return Trigger(
        event=submission,
        type="OrderSubmitted",
        id="place",
        order_id=submission.order_id,
        time_ms=0,
        body_hash=submission.body_hash,
        saga_deadline_ms=0,
        step_deadline_ms=0,
        traceparent=traceparent,
    )


def _key(record: Record) -> str:
    return record.key.decode("utf-8", "replace") if record.key else ""
