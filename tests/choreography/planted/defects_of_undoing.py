"""Planted defects of undoing: what is not undone, or in the wrong order, or not for good."""

from __future__ import annotations

from agents.choreography.graph import Choreography
from agents.inventory import Inventory
from agents.kernel.agent import compensation, settles
from agents.payment import Payment
from agents.shipping import Shipping
from agents.tracker import Tracker
from schemas.events import (
    CaptureStopped,
    CaptureStopping,
    OrderCancelRequested,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    ReserveFailing,
    SagaTimedOut,
    ShipmentCancelled,
    ShipmentFailed,
    StockRejected,
    StockReleased,
)
from schemas.saga import SagaStatus
from tests.choreography.planted.variations import (
    agent_of,
    changed,
    planted,
    reacting,
    signed,
    statuses_with,
    system,
)


@planted("step_before_the_pivot_can_be_undone", says="shipping.label")
def label_has_no_compensation() -> Choreography:
    return system(changed(Shipping, cancel=None))


@planted("step_before_the_pivot_can_be_undone", says="payment.create")
def created_payment_is_left_out_of_the_void() -> Choreography:
    return system(changed(Payment, void=signed(Payment, "void", group=())))


@planted("step_after_the_pivot_is_never_undone", says="payment.refund")
def pivot_has_a_compensation() -> Choreography:
    refund = compensation(undoes="capture", by_hand=PaymentRefunded)(
        reacting(PaymentCaptureFailed, PaymentRefunded)
    )
    return system(changed(Payment, refund=refund))


@planted("step_after_the_pivot_is_never_undone", says="abandon")
def retriable_step_has_a_compensation() -> Choreography:
    cancel = signed(Shipping, "cancel", group=("abandon",))
    return system(changed(Shipping, cancel=cancel))


@planted("failing_event_is_settled_by_its_own_agent", says="ReserveFailing")
def doubt_about_a_reservation_is_settled_by_nobody() -> Choreography:
    return system(changed(Inventory, settle_reserve=None))


@planted("failing_event_is_settled_by_its_own_agent", says="ReserveFailing")
def doubt_about_a_reservation_is_settled_by_another_agent() -> Choreography:
    settle = settles("confirm", by_hand=PaymentDeclined)(reacting(ReserveFailing, PaymentDeclined))
    return system(changed(Inventory, settle_reserve=None), changed(Payment, settle_other=settle))


@planted("failing_event_is_settled_by_its_own_agent", says="CarrierSwitched")
def second_carrier_is_never_tried() -> Choreography:
    return system(changed(Shipping, label_again=None))


@planted("failing_event_is_settled_by_its_own_agent", says="inventory.reserve")
def exhausted_step_has_no_failing_event() -> Choreography:
    return system(changed(Inventory, reserve=signed(Inventory, "reserve", failing=None)))


@planted("trigger_of_a_compensation_counts_as_compensating", says="ShipmentFailed")
def failed_shipment_changes_no_status() -> Choreography:
    return system(statuses=statuses_with(ShipmentFailed=None))


@planted("trigger_of_a_compensation_counts_as_compensating", says="PaymentCaptureFailed")
def refused_capture_counts_as_failed_at_once() -> Choreography:
    return system(statuses=statuses_with(PaymentCaptureFailed=SagaStatus.FAILED))


@planted("compensations_run_in_reverse_order", says="inventory.release")
def money_goes_back_before_the_stock() -> Choreography:
    void = signed(Payment, "void", consumes=StockRejected | ShipmentCancelled)
    release = signed(Inventory, "release", consumes=ShipmentFailed | PaymentVoided)
    return system(changed(Payment, void=void), changed(Inventory, release=release))


@planted("compensations_run_in_reverse_order", says="StockReleased")
def released_stock_leaves_the_money_held() -> Choreography:
    return system(
        changed(Payment, void=signed(Payment, "void", consumes=StockRejected)),
        statuses=statuses_with(StockReleased=SagaStatus.FAILED),
    )


@planted("refusal_leaves_nothing_standing", says="ShipmentFailed")
def failed_shipment_forgets_the_stock() -> Choreography:
    void = signed(Payment, "void", consumes=StockRejected | StockReleased | ShipmentFailed)
    release = signed(Inventory, "release", consumes=ShipmentCancelled)
    return system(changed(Payment, void=void), changed(Inventory, release=release))


@planted("refusal_leaves_nothing_standing", says="StockRejected")
def rejected_stock_ends_with_the_money_held() -> Choreography:
    return system(
        changed(Payment, void=signed(Payment, "void", consumes=StockReleased)),
        statuses=statuses_with(StockRejected=SagaStatus.FAILED),
    )


@planted("refusal_leaves_nothing_standing", says="CaptureStopped")
def stopped_order_keeps_its_label() -> Choreography:
    cancel = signed(Shipping, "cancel", consumes=PaymentCaptureFailed)
    triggers = ShipmentFailed | ShipmentCancelled | CaptureStopped
    release = signed(Inventory, "release", consumes=triggers)
    return system(changed(Shipping, cancel=cancel), changed(Inventory, release=release))


@planted("outcome_of_a_compensation_is_its_own", says="settle_reserve")
def settling_and_releasing_say_the_same() -> Choreography:
    settle = signed(Inventory, "settle_reserve", returns=StockReleased, by_hand=StockReleased)
    return system(changed(Inventory, settle_reserve=settle))


@planted("stop_is_confirmed_on_its_own_event", says="second look")
def capture_is_stopped_without_a_second_look() -> Choreography:
    stop = signed(Payment, "stop", returns=CaptureStopped)
    return system(changed(Payment, stop=stop, confirm_stop=None))


@planted("stop_is_confirmed_on_its_own_event", says="payment.capture")
def stop_is_confirmed_though_nobody_decided_it() -> Choreography:
    returns = PaymentCaptured | PaymentCaptureFailed | CaptureStopping
    return system(changed(Payment, capture=signed(Payment, "capture", returns=returns)))


@planted("time_out_stops_the_pivot", says="unprompted")
def nobody_says_that_time_is_over() -> Choreography:
    stop = signed(Payment, "stop", consumes=OrderCancelRequested)
    return system(agent_of(Tracker.name, {}, observes=True), changed(Payment, stop=stop))


@planted("time_out_stops_the_pivot", says="SagaTimedOut")
def late_saga_is_not_stopped() -> Choreography:
    stop = signed(Payment, "stop", consumes=OrderCancelRequested)
    return system(changed(Payment, stop=stop))


@planted("time_out_stops_the_pivot", says="payment.capture")
def late_saga_stops_the_wrong_step() -> Choreography:
    stop = signed(Payment, "stop", step="confirm", consumes=SagaTimedOut)
    return system(changed(Payment, stop=stop))
