"""Dead letters and what people decide about them.

A letter carries everything a replay needs, so that it can be replayed even if Redis has
forgotten the step: the trigger's bytes and headers, the ledger record's name, its direction and
its logical attempt.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.money import Money
from schemas.order import Line

Direction = Literal["forward", "settle", "compensation", "none"]
"""What the step was doing: its work, settling its own doubt, undoing; `none` for a poison record"""
Cause = Literal["exhausted", "terminal", "poison", "given_up"]
Known = Literal["refused", "unknown"]
Action = Literal["replay", "replay_edited", "discard", "resolved_by_hand"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Origin(_Model):
    """The record that could not be processed, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = 0
    key_base64: str | None = None
    value_base64: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Header names and base64 values, in their order."""
    cut: bool = False
    """Whether key, value or headers were too long to be kept whole."""
    sha256: str = ""
    """Of the whole value, in hex."""


class Owed(_Model):
    """What the business still owes while this letter is open."""

    money: Money | None = None
    stock: tuple[Line, ...] = ()
    shipment: str = ""


class DeadLetter(_Model):
    """A step that needs a person."""

    letter_id: str
    order_id: str = ""
    agent: str
    step: str = ""
    """The ledger record; empty when the record could not be read at all."""
    direction: Direction
    attempt: int = Field(default=1, ge=1)
    cause: Cause
    known: Known = "unknown"
    """Whether the last answer was a definite refusal, or the outcome is open."""
    error_type: str
    error: str
    tries: int = Field(default=0, ge=0)
    owed: Owed = Owed()
    raised_at_ms: int
    origin: Origin


class OperatorDecision(_Model):
    """What a person decided about one letter. The topic of these is the audit log."""

    decision_id: str
    letter: DeadLetter
    """The whole letter: the agent that runs the decision needs nothing else."""
    action: Action
    who: str = Field(min_length=1, max_length=255)
    why: str = Field(min_length=1, max_length=1000)
    when_ms: int
    previous_hash: str = ""
    """SHA-256 of the decision before this one on the same partition; empty for the first."""
    edited_value_base64: str | None = None
