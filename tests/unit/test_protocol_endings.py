"""The step protocol where a saga ends: stops, operators' decisions, compaction."""

from __future__ import annotations

from agents.kernel.protocol import (
    OVER,
    Compact,
    Direction,
    Read,
    Reply,
    Role,
    State,
    Verdict,
)
from tests.unit.one_order import Order

# ---- stops ---------------------------------------------------------------------------------


def test_stop_comes_too_late_when_the_capture_has_begun() -> None:
    """A capture that has begun refuses a stop, its lease over or not."""
    order = Order()
    order.begin("capture")
    order.lease_ends()

    assert order.begin("capture", Role.STOP, owner="bob").verdict is Verdict.BEGUN
    assert order.begin("capture", Role.CONFIRM, owner="bob").verdict is Verdict.BEGUN


def stopping(order: Order) -> Reply:
    """A stop that stands in the log and is not confirmed yet."""
    assert order.begin("capture", Role.STOP).verdict is Verdict.OURS
    return order.finish(
        State.STOPPED,
        "capture",
        owner="ann",
        unclaimed=True,
        open=True,
        outcome="CaptureStopping",
    )


def test_stop_is_confirmed_when_the_capture_had_not_begun() -> None:
    """A stop is stored open, looked at again, and then closed, also by the same owner."""
    order = Order()
    assert stopping(order).verdict is Verdict.OK

    confirming = order.begin("capture", Role.CONFIRM)
    confirmed = order.finish(
        State.STOPPED, "capture", owner="ann", unclaimed=True, outcome="CaptureStopped"
    )

    assert (confirming.verdict, confirmed.verdict) == (Verdict.OURS, Verdict.OK)
    assert (order.records["capture"].outcome, order.records["capture"].open) == (
        "CaptureStopped",
        False,
    )
    assert order.begin("capture", owner="bob").verdict is Verdict.DROPPED
    assert order.begin("capture", Role.CONFIRM, owner="bob").verdict is Verdict.REPUBLISH


def test_stop_is_lost_when_the_capture_began_between_look_and_finish() -> None:
    """The stop that was looked at earlier does not overwrite a capture that has begun."""
    order = Order()
    order.begin("capture", Role.STOP)
    order.begin("capture", owner="bob")

    reply = order.finish(State.STOPPED, "capture", owner="ann", fence=0, unclaimed=True)

    assert reply.verdict is Verdict.LOST


def test_stop_turns_into_done_when_the_look_found_the_capture() -> None:
    """A re-read that finds the money captured stores the capture instead (rule 2)."""
    order = Order()
    stopping(order)
    order.begin("capture", Role.CONFIRM, owner="bob")

    order.finish(State.DONE, "capture", owner="bob", unclaimed=True, outcome="PaymentCaptured")

    assert order.begin("capture", Role.STOP, owner="cem").verdict is Verdict.BEGUN
    assert order.begin("capture", owner="cem").verdict is Verdict.REPUBLISH


# ---- decisions -----------------------------------------------------------------------------


def test_decision_reopens_the_stored_direction_with_the_same_key() -> None:
    """After an unknown outcome a replay uses the same provider key, and is in doubt."""
    order = Order()
    order.run(State.DEAD)

    reply = order.decide(1, Direction.FORWARD, letter_known=False)

    assert (reply.verdict, reply.record.state) == (Verdict.OURS, State.INFLIGHT)
    assert (reply.record.attempt, reply.record.key_attempt, reply.record.doubt) == (2, 1, True)


def test_decision_takes_a_new_key_when_the_refusal_is_known() -> None:
    """Only a known refusal spends a new key, and only that direction's."""
    order = Order()
    order.run(State.DEAD, role=Role.COMPENSATE)

    record = order.decide(1, Direction.COMPENSATION, letter_known=True).record

    assert record.state is State.COMPENSATING
    assert (record.key_attempt, record.undo_key_attempt, record.doubt) == (1, 2, False)


def test_second_decision_gets_what_the_first_one_led_to() -> None:
    """The first decision on a letter counts; a later one republishes its outcome."""
    order = Order()
    order.run(State.DEAD)
    order.decide(1, Direction.FORWARD)
    order.finish(State.DONE)

    assert order.decide(1, Direction.FORWARD, owner="bob").verdict is Verdict.REPUBLISH


def test_second_decision_gets_the_new_letter_when_the_first_one_failed() -> None:
    """A replay that died again has a new letter; the old one decides nothing any more."""
    order = Order()
    order.run(State.DEAD)
    order.decide(1, Direction.FORWARD)
    order.finish(State.DEAD)

    assert order.decide(1, Direction.FORWARD, owner="bob").verdict is Verdict.LETTER
    order.decide(2, Direction.FORWARD)
    order.finish(State.DEAD)
    assert order.decide(1, Direction.FORWARD, owner="bob").verdict is Verdict.STALE


def test_decision_is_stale_when_the_step_is_being_undone() -> None:
    """A letter of the forward step reopens nothing once its undoing has died too."""
    order = Order()
    order.run(State.DEAD)
    order.run(State.DEAD, role=Role.COMPENSATE)

    assert order.decide(1, Direction.FORWARD).verdict is Verdict.STALE
    assert order.decide(1, Direction.COMPENSATION).verdict is Verdict.OURS


def test_decision_takes_over_when_the_first_worker_of_it_died() -> None:
    """A decision whose worker crashed is run again, in doubt and at the same attempt."""
    order = Order()
    order.run(State.DEAD)
    order.decide(1, Direction.FORWARD, letter_known=True)
    order.lease_ends()

    record = order.decide(1, Direction.FORWARD, letter_known=True, owner="bob").record

    assert (record.owner, record.attempt, record.doubt) == ("bob", 2, True)


def test_decision_reopens_when_the_ledger_has_forgotten_the_step() -> None:
    """A letter carries direction and attempt, so an empty ledger does not lose it (rule 8)."""
    record = Order().decide(3, Direction.COMPENSATION).record

    assert (record.state, record.attempt) == (State.COMPENSATING, 4)


def test_decision_reopens_when_the_ledger_only_knows_an_older_letter() -> None:
    """A ledger that fell back to the letter before is brought up to this one."""
    order = Order()
    order.run(State.DEAD)

    assert order.decide(2, Direction.FORWARD).record.attempt == 3


def test_decision_on_an_undoing_never_goes_forward_when_the_ledger_fell_back() -> None:
    """The letter's direction wins over a record from before the compensation (rule 5)."""
    order = Order()
    order.run(State.DEAD)

    record = order.decide(1, Direction.COMPENSATION).record

    assert (record.state, record.direction) == (State.COMPENSATING, Direction.COMPENSATION)


def test_decision_on_an_undoing_counts_when_the_forward_step_had_more_attempts() -> None:
    """Attempts of a compensation start anew; they are not compared with the forward ones."""
    order = Order()
    order.run(State.DEAD)
    order.decide(1, Direction.FORWARD)
    order.finish(State.DONE)

    record = order.decide(1, Direction.COMPENSATION).record

    assert (record.state, record.attempt) == (State.COMPENSATING, 2)


def test_decision_reopens_when_the_ledger_fell_back_into_the_undoing() -> None:
    """An undoing whose end was forgotten is not stuck: its letter still reopens it."""
    order = Order()
    order.begin(role=Role.COMPENSATE)
    order.lease_ends()

    reply = order.decide(1, Direction.COMPENSATION, owner="bob")

    assert (reply.verdict, reply.record.attempt) == (Verdict.OURS, 2)


def test_decision_refuses_the_group_when_it_reopens_an_undoing() -> None:
    """Even if the ledger forgot the void, a late confirm stays refused."""
    order = Order()

    order.decide(1, Direction.COMPENSATION, group=("confirm",))

    assert order.begin("confirm", owner="bob").verdict is Verdict.DROPPED


# ---- the end -------------------------------------------------------------------------------


def compacted() -> Order:
    order = Order()
    order.run(State.DONE, "place")
    order.run(State.DONE)
    reply = order.send(Compact("o1", (("label", 1), ("place", 1)), 1_000))
    assert reply.verdict is Verdict.OK
    return order


def test_compaction_leaves_one_record_that_answers_late_records() -> None:
    """Late steps are dropped, a stop comes too late, a decision is stale (rule 9)."""
    order = compacted()

    assert set(order.records) == {OVER}
    assert order.begin(owner="bob").verdict is Verdict.DROPPED
    assert order.begin(role=Role.COMPENSATE).verdict is Verdict.DROPPED
    assert order.begin("capture", Role.STOP).verdict is Verdict.BEGUN
    assert order.decide(1, Direction.FORWARD).verdict is Verdict.STALE


def test_compaction_still_tells_a_contradicting_order_from_a_repeat() -> None:
    """The body hash of the order outlives its saga."""
    order = compacted()

    assert order.begin("place").verdict is Verdict.DROPPED
    assert order.begin("place", trigger="t1#bb").verdict is Verdict.CONTRADICTS


def test_compaction_is_lost_when_a_record_changed_since_it_was_read() -> None:
    """A step that was begun between the look and the compaction is kept."""
    order = Order()
    order.run(State.DONE)
    order.begin(role=Role.COMPENSATE)

    assert order.send(Compact("o1", (("label", 1),), 1_000)).verdict is Verdict.LOST
    assert set(order.records) == {"label"}


def test_finish_is_lost_when_the_saga_was_compacted_meanwhile() -> None:
    """A stop that looked before the compaction leaves no record beside the last one."""
    order = compacted()

    reply = order.finish(State.STOPPED, "capture", owner="ann", unclaimed=True)

    assert reply.verdict is Verdict.LOST
    assert set(order.records) == {OVER}


def test_read_returns_every_record_by_name() -> None:
    """A reader sees the order's records sorted, and changes nothing."""
    order = Order()
    order.run(State.DONE, "place")
    order.begin("create")

    reply = order.send(Read("o1"))

    assert [name for name, _ in reply.records] == ["create", "place"]
