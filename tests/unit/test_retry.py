"""The retry policy: a formula with bounds, and decisions as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.kernel.retry import DELAY_S_MAX, Exhausted, RetryAfter, RetryPolicy, backoff_s


@given(
    base=st.floats(0.001, 10),
    attempt=st.integers(0, 200),
    random=st.floats(0, 1, exclude_max=True),
)
def test_backoff_stays_within_thirty_percent_and_the_limit(
    base: float, attempt: int, random: float
) -> None:
    """Every delay lies between 70 % and 130 % of the doubled base, and never over the limit."""
    delay = backoff_s(base, attempt, random)

    ideal = base * 2 ** min(attempt, 16)
    assert min(0.7 * ideal, DELAY_S_MAX) <= delay <= min(1.3 * ideal, DELAY_S_MAX)


def test_one_call_and_three_retries_are_made() -> None:
    """`retries` counts the calls after the first one: 1 s, 2 s, 4 s, then no more."""
    policy = RetryPolicy(retries=3, base_s=1.0)

    decisions = [policy.decide(tries, random=0.5) for tries in (1, 2, 3, 4)]

    assert decisions == [RetryAfter(1.0), RetryAfter(2.0), RetryAfter(4.0), Exhausted()]


def test_no_retry_begins_after_the_deadline() -> None:
    """A retry that would start after the deadline is not begun."""
    policy = RetryPolicy(retries=3, base_s=1.0)

    assert policy.decide(1, random=0.5, seconds_left=0.9) == Exhausted()
    assert policy.decide(1, random=0.5, seconds_left=1.1) == RetryAfter(1.0)
