"""Idempotency keys as Stripe keeps them.

1. The same key with the same parameters gets the first answer again, even if the object has moved
   on since; the caller reads the object again if it wants the present.
2. The same key with other parameters is an error, never a second effect.
3. A key whose first call is still being worked on is refused for now.
4. A fault that happened before the effect is not remembered: the key is still free.
5. A key is remembered for 24 hours and then forgotten.

A key belongs to one operation of one service, so that a step which cancels and then refunds may
use its one key for both.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agents.kernel.errors import ParameterMismatch, TerminalFault, TransientFault

REMEMBERED_MS = 24 * 3_600_000
"""Stripe may remove keys once they are at least 24 hours old."""

KEY_LENGTH_MAX = 255
"""As Stripe's."""

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_LENGTH_MAX}}}")
_FINGERPRINT_LENGTH_MAX = 64


class KeyInProgress(TransientFault):
    """A call with this key is being worked on; try again with the same key."""


class KeyMissing(TerminalFault):
    """The call has no usable idempotency key."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The first answer under a key."""

    fingerprint: str
    answer: Any
    at_ms: int


class Keys:
    """All keys of all services."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Remembered] = {}
        self._by_age: deque[tuple[int, tuple[str, str]]] = deque()
        self._in_progress: set[tuple[str, str]] = set()

    def find(self, operation: str, key: str, print_: str, now_ms: int) -> Remembered | None:
        """The first answer under this key, if it is remembered. Raises ParameterMismatch."""
        self._forget(now_ms)
        found = self._answers.get((operation, key))
        if found is not None and found.fingerprint != print_:
            raise ParameterMismatch(
                f"idempotency key {key} was used for {operation} with other parameters; "
                "a key names one effect only"
            )
        return found

    def remember(self, operation: str, key: str, first: Remembered) -> None:
        """Remember the first answer."""
        self._answers[operation, key] = first
        self._by_age.append((first.at_ms, (operation, key)))

    @contextmanager
    def in_progress(self, operation: str, key: str) -> Iterator[None]:
        """While a call is worked on, another one with its key is refused. Raises KeyInProgress."""
        name = (operation, key)
        if name in self._in_progress:
            raise KeyInProgress(f"a call with key {key} is in progress; try again with it")
        self._in_progress.add(name)
        try:
            yield
        finally:
            self._in_progress.discard(name)

    def __len__(self) -> int:
        return len(self._answers)

    def _forget(self, now_ms: int) -> None:
        while self._by_age and self._by_age[0][0] <= now_ms - REMEMBERED_MS:
            at_ms, name = self._by_age.popleft()
            if self._answers[name].at_ms == at_ms:
                del self._answers[name]


def check_key(key: str) -> None:
    """Raise KeyMissing unless the key is 1 to 255 visible ASCII characters."""
    if not _KEY.fullmatch(key):
        raise KeyMissing(
            f"idempotency key {key[:64]!r} must be 1 to {KEY_LENGTH_MAX} visible ASCII characters"
        )


def fingerprint(*parameters: object) -> str:
    """A short text that differs when the parameters do."""
    text = repr(parameters)
    if len(text) <= _FINGERPRINT_LENGTH_MAX:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
