"""The tree of failures. A refusal is an event; only a fault is an exception.

    ChoraleError
    ├── TransientFault      nothing happened; try again
    │   └── BreakerOpen     not even tried; waiting costs no try
    ├── InDoubt             the outcome is unknown; try again with the same key
    ├── TerminalFault       trying again cannot help; a person must look
    │   └── ParameterMismatch   the key was used with other parameters
    ├── PoisonRecord        a record that cannot be read
    ├── LeaseLost           another worker has the step now
    ├── StoreUnavailable    the ledger cannot be reached
    │   └── StoreDoubtful   the ledger is not the one that we knew
    ├── LogUnavailable      the broker cannot be reached, or has not acknowledged
    └── ConfigurationError  a setting or topics.yaml is wrong

The docstring of a class is its default message.
"""

from __future__ import annotations


class ChoraleError(Exception):
    """Something went wrong in Chorale."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class TransientFault(ChoraleError):
    """The other side is busy or away, and nothing happened there; try again."""


class BreakerOpen(TransientFault):
    """The breaker is open; the call was not made."""

    def __init__(self, breaker: str, retry_after_s: float) -> None:
        super().__init__(f"breaker {breaker} is open; next probe in {retry_after_s:.1f} s")
        self.breaker = breaker
        self.retry_after_s = retry_after_s


class InDoubt(ChoraleError):
    """The call may or may not have taken effect; only its own key may be tried again."""


class TerminalFault(ChoraleError):
    """Trying again cannot help; the step goes to the dead letters."""


class ParameterMismatch(TerminalFault):
    """The provider knows this key with other parameters; this is never a decline."""


class PoisonRecord(ChoraleError):
    """The record cannot be read; it goes to the dead letters as it is."""


class LeaseLost(ChoraleError):
    """Another worker has taken this step over; its result counts, not ours."""


class StoreUnavailable(ChoraleError):
    """The store does not answer; agents wait and continue when it is back."""


class StoreDoubtful(StoreUnavailable):
    """The store is not the one this log was written with; agents stop claiming."""


class LogUnavailable(ChoraleError):
    """The broker does not answer or has not acknowledged; agents wait and try again."""


class ConfigurationError(ChoraleError):
    """A setting is wrong; the message names its key."""
