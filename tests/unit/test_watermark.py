"""The watermark against a naive set, and the cases that lose records when they go wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.kernel.watermark import Watermark, Watermarks

PLACE = ("payment.events", 0)

_steps = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60)


@given(_steps)
def test_committable_is_the_lowest_unsettled_offset_when_anything_happens(
    steps: list[tuple[bool, int]],
) -> None:
    """Any sequence of fetches and settles agrees with a set, gaps and repeats included."""
    watermark = Watermark()
    unsettled: set[int] = set()
    end: int | None = None

    for is_fetch, offset in steps:
        if is_fetch:
            watermark.fetched(offset)
            unsettled.add(offset)
            end = offset + 1
        else:
            watermark.settled(offset)
            unsettled.discard(offset)
        expected = None if end is None else min({*unsettled, end})

        assert watermark.committable() == expected
        assert len(watermark) == len(unsettled)


@given(st.sets(st.integers(0, 1000), min_size=1), st.randoms())
def test_commit_never_passes_an_unsettled_offset_when_settles_come_in_any_order(
    offsets: set[int], chance: object
) -> None:
    """Whatever settles first, nothing unsettled is committed, and at the end everything is."""
    watermark = Watermark()
    for offset in sorted(offsets):
        watermark.fetched(offset)
    order = sorted(offsets)
    chance.shuffle(order)  # type: ignore[attr-defined]

    for done, offset in enumerate(order, start=1):
        watermark.settled(offset)
        still = set(order[done:])
        committable = watermark.committable()
        assert committable is not None
        assert all(committable <= left for left in still)

    assert watermark.committable() == max(offsets) + 1


def test_nothing_is_committable_when_nothing_was_fetched() -> None:
    """An idle partition has no offset of its own to commit."""
    assert Watermark().committable() is None
    assert Watermarks().advance() == {}


def test_gap_is_passed_when_offsets_are_not_dense() -> None:
    """Compaction and transaction markers leave holes; they hold nothing back."""
    watermark = Watermark()
    watermark.fetched(3)
    watermark.fetched(90)

    watermark.settled(3)

    assert watermark.committable() == 90


def test_end_goes_back_when_the_log_lost_its_tail() -> None:
    """After a reset to an earlier offset the old end would skip records yet to be written."""
    watermark = Watermark()
    watermark.fetched(99)
    watermark.settled(99)

    watermark.fetched(50)
    watermark.settled(50)

    assert watermark.committable() == 51


def test_settle_counts_for_nothing_when_its_assignment_is_over() -> None:
    """A new assignment starts with new watermarks, which know no old offset."""
    watermarks = Watermarks()

    watermarks.settled(PLACE, 7)
    assert watermarks.unsettled == 0
    assert watermarks.advance() == {}
    watermarks.settled(PLACE, 8)
    watermarks.fetched(PLACE, 8)
    watermarks.settled(PLACE, 7)

    assert watermarks.unsettled == 1
    assert watermarks.advance() == {PLACE: 8}


def test_advance_names_only_what_changed_when_the_last_commit_succeeded() -> None:
    """A place without progress is not committed again; a failed commit is tried again."""
    watermarks = Watermarks()
    other = ("payment.events", 1)
    watermarks.fetched(PLACE, 0)
    watermarks.fetched(other, 5)
    watermarks.settled(PLACE, 0)

    first = watermarks.advance()
    again = watermarks.advance()
    watermarks.committed(first)
    watermarks.settled(other, 5)

    assert first == again == {PLACE: 1, other: 5}
    assert watermarks.advance() == {other: 6}
    assert watermarks.unsettled == 0
