"""Planted defects of steps: names, roles, and the way to the pivot."""

from __future__ import annotations

from agents.choreography.graph import Choreography
from agents.gateway import Gateway
from agents.inventory import Inventory
from agents.kernel.agent import intake, retriable
from agents.kernel.submission import Submission
from agents.notification import Notification
from agents.payment import Payment
from agents.shipping import Shipping
from agents.tracker import Tracker
from schemas.events import (
    OrderRejected,
    PaymentAuthorized,
    PaymentCaptured,
    ShipmentCancelled,
    ShipmentFailed,
    StockReserved,
)
from tests.choreography.planted.variations import (
    agent_of,
    changed,
    owned_by,
    planted,
    reacting,
    signed,
    statuses_with,
    system,
    topics_with,
)


@planted("agent_names_are_unique", says="inventory")
def two_agents_have_one_name() -> Choreography:
    real = system()
    return Choreography.of((*real.agents, Inventory), topics_with())


@planted("step_belongs_to_one_agent", says="create")
def two_agents_share_a_step_name() -> Choreography:
    reserve = signed(Inventory, "reserve", step="create")
    return system(changed(Inventory, reserve=reserve))


@planted("step_has_one_reaction_of_a_role", says="release_after_failure")
def two_handlers_release_one_reservation() -> Choreography:
    return system(
        changed(
            Inventory,
            release=signed(Inventory, "release", consumes=ShipmentCancelled),
            release_after_failure=signed(Inventory, "release", consumes=ShipmentFailed),
        )
    )


@planted("reaction_names_a_step_of_its_agent", says="reserve")
def payment_undoes_the_step_of_another_agent() -> Choreography:
    return system(changed(Payment, void=signed(Payment, "void", step="reserve")))


@planted("reaction_names_a_step_of_its_agent", says="authorise")
def compensation_refuses_a_step_that_is_not_there() -> Choreography:
    return system(changed(Payment, void=signed(Payment, "void", group=("create", "authorise"))))


@planted("reaction_names_a_step_of_its_agent", says="resreve")
def settling_names_a_misspelt_step() -> Choreography:
    settle = signed(Inventory, "settle_reserve", step="resreve")
    return system(changed(Inventory, settle_reserve=settle))


@planted("reaction_names_a_step_of_its_agent", says="labels")
def fallback_continues_a_step_that_is_not_there() -> Choreography:
    return system(changed(Shipping, label_again=signed(Shipping, "label_again", step="labels")))


@planted("inbox_has_one_reader", says="@intake")
def nobody_reads_the_inbox() -> Choreography:
    return system(changed(Gateway, place=signed(Gateway, "place", intake=False)))


@planted("inbox_has_one_reader", says="backdoor.take")
def two_agents_read_the_inbox() -> Choreography:
    take = intake("take")(reacting(Submission, OrderRejected))
    return system(agent_of("backdoor", {"take": take}), topics=owned_by("backdoor"))


@planted("observer_commands_nobody", says="tracker.cheer")
def tracker_reacts_to_events() -> Choreography:
    cheer = retriable()(reacting(PaymentCaptured, type(None)))
    return system(changed(Tracker, cheer=cheer))


@planted("exactly_one_pivot", says="@pivot")
def there_is_no_pivot() -> Choreography:
    return system(changed(Payment, capture=signed(Payment, "capture", pivot=False)))


@planted("exactly_one_pivot", says="shipping.label")
def there_are_two_pivots() -> Choreography:
    return system(changed(Shipping, label=signed(Shipping, "label", pivot=True)))


@planted("pivot_can_complete_the_saga", says="payment.capture")
def captured_order_never_completes() -> Choreography:
    return system(statuses=statuses_with(PaymentCaptured=None))


@planted("way_to_the_pivot_does_not_fork", says="PaymentAuthorized")
def stock_and_label_start_side_by_side() -> Choreography:
    triggers = PaymentAuthorized | StockReserved
    return system(changed(Shipping, label=signed(Shipping, "label", consumes=triggers)))


@planted("step_leads_to_the_pivot_or_is_retriable", says="inventory.reserve")
def capture_does_not_wait_for_the_stock() -> Choreography:
    label = signed(Shipping, "label", consumes=PaymentAuthorized)
    return system(changed(Shipping, label=label))


@planted("step_leads_to_the_pivot_or_is_retriable", says="after the pivot")
def notification_may_fail_the_saga() -> Choreography:
    notify = signed(Notification, "notify", retriable=False)
    return system(changed(Notification, notify=notify))


@planted("person_can_settle_what_the_saga_waits_for", says="payment.void")
def nobody_can_settle_a_void_by_hand() -> Choreography:
    return system(changed(Payment, void=signed(Payment, "void", by_hand=None)))
