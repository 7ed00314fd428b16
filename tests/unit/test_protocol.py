"""The step protocol, rule by rule: who may have a step, and what everybody else is told."""

from __future__ import annotations

from agents.kernel.protocol import Direction, Role, State, Touch, Verdict
from tests.unit.one_order import EPOCH, LEASE_MS, Order

# ---- begin, touch, finish ------------------------------------------------------------------


def test_begin_claims_a_step_when_nobody_had_it() -> None:
    """The first to ask gets the step, with fence 1 and nothing in doubt."""
    reply = Order().begin()

    assert reply.verdict is Verdict.OURS
    assert (reply.record.state, reply.record.fence, reply.record.doubt) == (
        State.INFLIGHT,
        1,
        False,
    )
    assert reply.fence == "7.1"


def test_begin_gives_the_same_answer_when_its_owner_sends_it_again() -> None:
    """A claim whose reply was lost is still a claim of the same owner."""
    order = Order()
    first = order.begin()

    assert order.begin() == first


def test_begin_is_busy_when_somebody_else_holds_the_lease() -> None:
    """Everybody else is told who has the step and until when."""
    order = Order()
    order.begin()

    reply = order.begin(owner="bob")

    assert reply.verdict is Verdict.BUSY
    assert (reply.record.owner, reply.record.lease_until_ms) == ("ann", 1_100)


def test_begin_takes_over_with_doubt_when_the_lease_is_over() -> None:
    """A dead owner may have reached the provider: the successor has a higher fence, and doubt."""
    order = Order()
    order.begin()
    order.lease_ends()

    reply = order.begin(owner="bob")

    assert reply.verdict is Verdict.OURS
    assert (reply.record.owner, reply.record.fence, reply.record.doubt) == ("bob", 2, True)


def test_finish_is_lost_when_the_step_was_taken_over() -> None:
    """The late result of a former owner changes nothing."""
    order = Order()
    first = order.begin().record
    order.lease_ends()
    second = order.begin(owner="bob").record

    late = order.finish(State.DONE, owner="ann", fence=first.fence)

    assert late.verdict is Verdict.LOST
    assert order.records["label"] == second


def test_finish_is_lost_when_its_fence_is_an_older_one() -> None:
    """An owner that claimed twice finishes only what it claimed last."""
    order = Order()
    order.begin()
    order.lease_ends()
    order.begin()

    assert order.finish(State.DONE, fence=1).verdict is Verdict.LOST
    assert order.finish(State.DONE, fence=2).verdict is Verdict.OK


def test_finish_is_lost_when_the_store_was_born_again_meanwhile() -> None:
    """What was read under one epoch is never written under another (rule 2)."""
    order = Order()
    order.begin()

    assert order.finish(State.DONE, epoch=EPOCH + 1).verdict is Verdict.LOST
    assert order.finish(State.DONE, epoch=EPOCH).verdict is Verdict.OK


def test_touch_keeps_the_count_of_tries_when_the_owner_dies() -> None:
    """Failed tries survive a crash, so that three retries are three."""
    order = Order()
    order.begin()
    order.send(Touch("o1", "label", "ann", 1, LEASE_MS, tries=2, doubt=False, progress="01"))
    order.lease_ends()

    reply = order.begin(owner="bob")

    assert (reply.record.tries, reply.record.progress) == (2, "01")


def test_touch_gives_the_step_back_when_its_lease_is_zero() -> None:
    """A step given back need not be waited for."""
    order = Order()
    order.begin()
    order.send(Touch("o1", "label", "ann", 1, 0, tries=1, doubt=False))

    assert order.begin(owner="bob").verdict is Verdict.OURS


def test_begin_republishes_when_the_step_is_done() -> None:
    """After a crash between finish and publish the stored events go out again, the same bytes."""
    order = Order()
    order.run(State.DONE)

    reply = order.begin(owner="bob")

    assert (reply.verdict, reply.record.blob) == (Verdict.REPUBLISH, "[1]")


def test_begin_contradicts_when_the_same_trigger_has_another_body() -> None:
    """Another body under a known id is poison, never a repeat; another id is a repeat."""
    order = Order()
    order.run(State.DONE)

    assert order.begin(trigger="t1#bb").verdict is Verdict.CONTRADICTS
    assert order.begin(trigger="t2#bb").verdict is Verdict.REPUBLISH


# ---- own decisions that stand in the log ---------------------------------------------------


def test_forward_never_goes_back_when_the_carrier_was_switched() -> None:
    """After CarrierSwitched only that event's own record goes on; the first trigger republishes."""
    order = Order()
    order.begin()
    order.finish(State.DONE, open=True, outcome="CarrierSwitched")

    assert order.begin(owner="bob").verdict is Verdict.REPUBLISH
    going = order.begin(owner="cem", role=Role.CONTINUE, trigger_type="CarrierSwitched")
    assert (going.verdict, going.record.state) == (Verdict.OURS, State.INFLIGHT)
    order.lease_ends()
    assert order.begin(owner="bob").verdict is Verdict.REPUBLISH


def test_forward_never_goes_back_when_the_switch_was_forgotten() -> None:
    """Even a ledger that forgot the switch keeps to it, once the event has been met."""
    order = Order()
    order.begin("label", Role.CONTINUE, trigger_type="CarrierSwitched")
    order.lease_ends()

    assert order.begin(owner="bob").verdict is Verdict.REPUBLISH


def test_continue_is_a_repeat_when_failing_has_outranked_it() -> None:
    """LabelFailing outranks CarrierSwitched: the switch is not gone on with."""
    order = Order()
    order.begin()
    order.finish(State.DONE, open=True, outcome="LabelFailing")

    reply = order.begin(owner="bob", role=Role.CONTINUE, trigger_type="CarrierSwitched")

    assert reply.verdict is Verdict.REPUBLISH


def test_settle_is_a_no_op_when_the_step_succeeded_meanwhile() -> None:
    """A …Failing after a success changes nothing; the success goes out again."""
    order = Order()
    order.run(State.DONE)

    assert order.begin(role=Role.SETTLE, owner="bob").verdict is Verdict.REPUBLISH


def test_settle_takes_the_step_when_its_failing_is_open() -> None:
    """The step's own agent settles what it published, counting tries and doubt from the start."""
    order = Order()
    order.begin()
    order.send(Touch("o1", "label", "ann", 1, LEASE_MS, tries=4, doubt=True))
    order.finish(State.DONE, open=True, outcome="LabelFailing")

    settling = order.begin(role=Role.SETTLE, owner="bob")

    assert settling.verdict is Verdict.OURS
    assert settling.record.direction == Direction.SETTLE
    assert (settling.record.tries, settling.record.doubt) == (0, False)


# ---- compensation --------------------------------------------------------------------------


def test_compensation_leaves_a_tombstone_when_the_step_never_ran() -> None:
    """A null compensation refuses the late step."""
    order = Order()
    order.run(State.COMPENSATED, role=Role.COMPENSATE)

    assert order.begin(owner="bob").verdict is Verdict.DROPPED


def test_compensation_waits_when_the_step_is_in_flight() -> None:
    """It starts once the step has finished or its lease is over, never beside it."""
    order = Order()
    order.begin()

    assert order.begin(role=Role.COMPENSATE, owner="bob").verdict is Verdict.BUSY
    order.lease_ends()
    assert order.begin(role=Role.COMPENSATE, owner="bob").verdict is Verdict.OURS


def test_compensation_starts_with_a_fresh_count() -> None:
    """Tries and attempts of the forward step do not count against its undoing."""
    order = Order()
    order.begin()
    order.send(Touch("o1", "label", "ann", 1, LEASE_MS, tries=4, doubt=True))
    order.finish(State.DEAD)
    order.decide(1, Direction.FORWARD, letter_known=True)
    order.finish(State.DONE)

    order.begin("create")
    order.send(Touch("o1", "create", "ann", 1, 0, tries=3, doubt=True))

    undoing = order.begin(role=Role.COMPENSATE).record

    assert order.begin("create", Role.COMPENSATE).record.tries == 0
    assert (undoing.tries, undoing.attempt, undoing.doubt) == (0, 1, False)
    assert undoing.key_attempt == 2


def test_compensation_supersedes_the_letter_when_the_forward_step_is_dead() -> None:
    """A dead forward step is undone; its letter has nothing left to decide (rule 5)."""
    order = Order()
    order.run(State.DEAD)

    order.run(State.COMPENSATED, role=Role.COMPENSATE)

    assert order.decide(1, Direction.FORWARD).verdict is Verdict.STALE


def test_compensation_republishes_its_letter_when_it_is_dead() -> None:
    """A dead compensation waits for a person; a repeated trigger does not revive it."""
    order = Order()
    order.run(State.DEAD, role=Role.COMPENSATE)

    assert order.begin(role=Role.COMPENSATE, owner="bob").verdict is Verdict.LETTER


def test_compensation_refuses_its_whole_group() -> None:
    """Void stops create and confirm in one stroke, open decisions of theirs included."""
    order = Order()
    order.begin("confirm")
    order.finish(State.DONE, "confirm", open=True, outcome="ConfirmFailing")

    order.begin("create", Role.COMPENSATE, group=("confirm",))

    confirm = order.records["confirm"]
    assert (confirm.state, confirm.open, confirm.fence) == (State.STOPPED, False, 2)
    assert order.begin("confirm", owner="bob").verdict is Verdict.DROPPED
    assert order.begin("confirm", Role.SETTLE, owner="bob").verdict is Verdict.DROPPED


def test_compensation_waits_when_a_step_of_its_group_is_in_flight() -> None:
    """A confirm in flight keeps the void waiting, whoever holds it."""
    order = Order()
    order.begin("confirm")

    assert order.begin("create", Role.COMPENSATE, group=("confirm",)).verdict is Verdict.BUSY
