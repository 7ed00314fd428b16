"""Planted defects of events: emitters, consumers, contents, endings."""

from __future__ import annotations

from typing import Any

from agents.choreography.graph import Choreography
from agents.inventory import Inventory
from agents.kernel.agent import retriable
from agents.payment import Payment
from agents.shipping import Shipping
from schemas.events import (
    CaptureStopping,
    ChainEvent,
    Event,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentVoided,
    ReserveFailing,
    ShipmentCancelled,
    ShipmentFailed,
    ShipmentLabelled,
    StockRejected,
    StockReleased,
)
from schemas.saga import STATUS_BY_EVENT, SagaStatus
from tests.choreography.planted.variations import (
    NOTHING,
    OrderDeferred,
    agent_of,
    changed,
    contract_with,
    owned_by,
    planted,
    reacting,
    signed,
    statuses_with,
    system,
)


class StockFreed(Event):
    """A chain event that forgot the order."""

    order_id: str


class StockLost(ChainEvent):
    """A failure event that wants to know more than the kernel does."""

    pallet: str


@planted("consumed_event_has_an_emitter", says="StockReserved")
def shipping_waits_for_stock_that_nobody_reserves() -> Choreography:
    return system(changed(Inventory, reserve=signed(Inventory, "reserve", returns=StockRejected)))


@planted("consumed_event_has_an_emitter", says="PaymentAuthorized")
def inventory_waits_for_an_agent_that_is_not_there() -> Choreography:
    return system(without=("payment",))


@planted("emitted_event_has_a_consumer_or_is_final", says="StockRejected")
def nobody_reacts_to_rejected_stock() -> Choreography:
    return system(changed(Payment, void=signed(Payment, "void", consumes=StockReleased)))


@planted("emitted_event_has_a_consumer_or_is_final", says="CarrierAbandoned")
def nobody_cleans_up_at_the_abandoned_carrier() -> Choreography:
    return system(changed(Shipping, abandon=None))


@planted("event_has_one_emitting_agent", says="fraud")
def two_agents_decline_payments() -> Choreography:
    screen = retriable()(reacting(OrderPlaced, PaymentDeclined))
    return system(agent_of("fraud", {"screen": screen}), topics=owned_by("fraud"))


@planted("signature_types_are_known", says="dict")
def handler_takes_a_plain_dict() -> Choreography:
    return system(changed(Payment, capture=signed(Payment, "capture", consumes=dict)))


@planted("signature_types_are_known", says="Any")
def handler_takes_anything() -> Choreography:
    return system(changed(Payment, capture=signed(Payment, "capture", consumes=Any)))


@planted("signature_types_are_known", says="ChainEvent")
def handler_takes_every_chain_event() -> Choreography:
    return system(changed(Payment, capture=signed(Payment, "capture", consumes=ChainEvent)))


@planted("signature_types_are_known", says="str")
def handler_returns_text() -> Choreography:
    returns = StockReleased | str
    return system(changed(Inventory, release=signed(Inventory, "release", returns=returns)))


@planted("signature_types_are_known", says="OrderDeferred")
def event_is_not_in_the_contract() -> Choreography:
    returns = StockReleased | OrderDeferred
    return system(changed(Inventory, release=signed(Inventory, "release", returns=returns)))


@planted("contract_has_no_unused_event", says="OrderDeferred")
def contract_promises_an_event_that_never_comes() -> Choreography:
    return system(contract=contract_with(OrderDeferred), statuses=statuses_with(OrderDeferred=None))


@planted("fold_is_total", says="CarrierSwitched")
def event_has_no_status_row() -> Choreography:
    rows = {name: row for name, row in STATUS_BY_EVENT.items() if name != "CarrierSwitched"}
    return system(statuses=rows)


@planted("fold_is_total", says="OrderDelivered")
def status_row_has_no_event() -> Choreography:
    return system(statuses=statuses_with(OrderDelivered=SagaStatus.COMPLETED))


@planted("chain_events_carry_the_order", says="StockFreed")
def released_stock_forgets_the_order() -> Choreography:
    return system(
        changed(Inventory, release=signed(Inventory, "release", returns=StockFreed)),
        changed(Payment, void=signed(Payment, "void", consumes=StockRejected | StockFreed)),
        contract=contract_with(StockFreed),
        statuses=statuses_with(StockFreed=SagaStatus.COMPENSATING),
    )


@planted("kernel_can_make_the_event", says="pallet")
def by_hand_event_wants_a_field_that_nobody_fills() -> Choreography:
    return system(
        changed(Inventory, release=signed(Inventory, "release", by_hand=StockLost)),
        contract=contract_with(StockLost),
        statuses=statuses_with(StockLost=SagaStatus.COMPENSATING),
    )


@planted("kernel_can_make_the_event", says="StockFreed")
def failing_event_is_no_chain_event() -> Choreography:
    return system(
        changed(Inventory, reserve=signed(Inventory, "reserve", failing=StockFreed)),
        contract=contract_with(StockFreed),
        statuses=statuses_with(StockFreed=None),
    )


@planted("no_event_brings_itself_about", says="PaymentVoided")
def undoings_run_in_circles() -> Choreography:
    triggers = ShipmentFailed | ShipmentCancelled | PaymentVoided
    return system(changed(Inventory, release=signed(Inventory, "release", consumes=triggers)))


@planted("no_event_brings_itself_about", says="ShipmentLabelled")
def forward_steps_run_in_circles() -> Choreography:
    triggers = PaymentAuthorized | ShipmentLabelled
    return system(changed(Inventory, reserve=signed(Inventory, "reserve", consumes=triggers)))


@planted("every_path_ends", says="ReserveFailing")
def settling_a_reservation_may_end_in_silence() -> Choreography:
    settle = signed(Inventory, "settle_reserve", returns=StockRejected | NOTHING)
    return system(changed(Inventory, settle_reserve=settle))


@planted("every_path_ends", says="OrderCancelRequested")
def stop_may_end_in_silence() -> Choreography:
    return system(changed(Payment, stop=signed(Payment, "stop", returns=CaptureStopping | NOTHING)))


@planted("every_path_ends", says="PaymentDeclined")
def declined_payment_changes_no_status() -> Choreography:
    return system(statuses=statuses_with(PaymentDeclined=None))


@planted("every_path_ends", says="ShipmentLabelled")
def capture_emits_only_with_luck() -> Choreography:
    returns = PaymentCaptured | NOTHING
    return system(changed(Payment, capture=signed(Payment, "capture", returns=returns)))


@planted("compensating_leads_to_failed", says="ShipmentFailed")
def release_may_end_in_silence() -> Choreography:
    release = signed(Inventory, "release", returns=StockReleased | NOTHING)
    return system(changed(Inventory, release=release))


@planted("compensating_leads_to_failed", says="PaymentVoided")
def voided_payment_counts_as_completed() -> Choreography:
    return system(statuses=statuses_with(PaymentVoided=SagaStatus.COMPLETED))


@planted("after_the_end_only_retriable_steps_react", says="ShipmentLabelled")
def labelled_order_counts_as_completed() -> Choreography:
    return system(statuses=statuses_with(ShipmentLabelled=SagaStatus.COMPLETED))


@planted("after_the_end_only_retriable_steps_react", says="ReserveFailing")
def doubt_counts_as_failed() -> Choreography:
    assert ReserveFailing.__name__ in STATUS_BY_EVENT
    return system(statuses=statuses_with(ReserveFailing=SagaStatus.FAILED))
