"""When a breaker opens and closes: a pure state machine, shared by every store.

    CLOSED ──too many failures──> OPEN ──time──> HALF_OPEN ──probe succeeds──> CLOSED
                                    ^                └────── probe fails ──────> OPEN

Half-open lets exactly one call through. The prober holds a lease, so that one that died does not
keep the breaker shut for ever. The Redis store runs the same rules in Lua (`breaker.lua`), and a
differential test holds the two equal; so all arithmetic here is of whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

REPORTS_REMEMBERED = 64
"""Ids of the latest reports: a report sent again within that many others is counted once."""
LOOK_AGAIN_MS = 250
"""Somebody else probes: most probes are answered within this time."""


class BreakerState(StrEnum):
    """Whether calls go through: all, none, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and for how long. Windows are counted in whole seconds."""

    failures_max: int = 5
    failures_window_s: int = 30
    percent_max: int = 50
    calls_min: int = 10
    calls_window_s: int = 10
    open_ms: int = 10_000
    probe_lease_ms: int = 10_000
    """Twice the longest effect, so that a prober that lives is never doubted."""


@dataclass(frozen=True, slots=True)
class Count:
    """The calls that ended within one second."""

    second: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """All that a breaker remembers."""

    retry_at_ms: int = 0
    """When a probe may be made; 0 while closed."""
    probe_owner: str = ""
    probe_until_ms: int = 0
    counts: tuple[Count, ...] = ()
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What became of some calls; counted once, however often it is sent."""

    report_id: str
    succeeded: int
    failed: int
    probe_owner: str = ""


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker as it was at `now_ms`, the store's time."""

    state: BreakerState = BreakerState.CLOSED
    retry_at_ms: int = 0
    """When to ask again; 0 while closed."""
    now_ms: int = 0
    probe_owner: str = ""
    """Who probes now; empty if nobody does."""

    @property
    def retry_after_ms(self) -> int:
        """How long to wait, seen from `now_ms`."""
        return max(0, self.retry_at_ms - self.now_ms)


def view_of(record: BreakerRecord, now_ms: int) -> BreakerView:
    """What the record means now."""
    if not record.retry_at_ms:
        return BreakerView(BreakerState.CLOSED, 0, now_ms)
    if now_ms < record.retry_at_ms:
        return BreakerView(BreakerState.OPEN, record.retry_at_ms, now_ms)
    if now_ms < record.probe_until_ms:
        again_ms = min(record.probe_until_ms, now_ms + LOOK_AGAIN_MS)
        return BreakerView(BreakerState.HALF_OPEN, again_ms, now_ms, record.probe_owner)
    return BreakerView(BreakerState.HALF_OPEN, now_ms, now_ms)


def probe(record: BreakerRecord, policy: BreakerPolicy, owner: str, now_ms: int) -> BreakerRecord:
    """Let `owner` probe, if the breaker is half-open and nobody else does."""
    view = view_of(record, now_ms)
    if view.state is not BreakerState.HALF_OPEN or view.probe_owner not in ("", owner):
        return record
    return replace(record, probe_owner=owner, probe_until_ms=now_ms + policy.probe_lease_ms)


def count(
    record: BreakerRecord, policy: BreakerPolicy, report: Report, now_ms: int
) -> BreakerRecord:
    """Count a report. While not closed, nothing counts but the word of the prober."""
    if report.report_id in record.reports:
        return record
    remembered = (*record.reports, report.report_id)[-REPORTS_REMEMBERED:]
    record = replace(record, reports=remembered)
    if record.retry_at_ms:
        return _judged(record, policy, report, now_ms)
    counted = replace(record, counts=_counted(record.counts, policy, report, now_ms // 1000))
    if _trips(counted.counts, policy, now_ms // 1000):
        return _opened(counted, policy, now_ms)
    return counted


def _judged(
    record: BreakerRecord, policy: BreakerPolicy, report: Report, now_ms: int
) -> BreakerRecord:
    if not report.probe_owner or report.probe_owner != record.probe_owner:
        return record
    if report.failed:
        return _opened(record, policy, now_ms)
    if report.succeeded:
        return BreakerRecord(reports=record.reports)
    return record


def _opened(record: BreakerRecord, policy: BreakerPolicy, now_ms: int) -> BreakerRecord:
    return BreakerRecord(retry_at_ms=now_ms + policy.open_ms, reports=record.reports)


def _counted(
    counts: tuple[Count, ...], policy: BreakerPolicy, report: Report, second: int
) -> tuple[Count, ...]:
    oldest = second - max(policy.failures_window_s, policy.calls_window_s)
    kept = [c for c in counts if oldest < c.second <= second]
    succeeded, failed = report.succeeded, report.failed
    if kept and kept[-1].second == second:
        last = kept.pop()
        succeeded, failed = last.succeeded + succeeded, last.failed + failed
    return (*kept, Count(second, succeeded, failed))


def _trips(counts: tuple[Count, ...], policy: BreakerPolicy, second: int) -> bool:
    failures = sum(c.failed for c in counts if c.second > second - policy.failures_window_s)
    recent = [c for c in counts if c.second > second - policy.calls_window_s]
    failed = sum(c.failed for c in recent)
    calls = failed + sum(c.succeeded for c in recent)
    if failures >= policy.failures_max:
        return True
    return calls >= policy.calls_min and failed * 100 >= policy.percent_max * calls
