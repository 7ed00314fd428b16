"""Sound variants: what somebody may rightly build, and `check` must not complain about."""

from __future__ import annotations

from agents.choreography.graph import Choreography
from agents.kernel.agent import (
    compensation,
    confirms_stop,
    intake,
    pivot,
    retriable,
    settles,
    step,
    stops,
)
from agents.kernel.settings import Settings
from agents.kernel.submission import Submission
from agents.kernel.topics import DAY_MS, parse_topics
from agents.notification import Notification
from agents.payment import Payment
from agents.shipping import Shipping
from schemas.events import (
    EVENTS,
    CancelRefused,
    CarrierSwitched,
    ChainEvent,
    LabelFailing,
    OrderCancelRequested,
    OrderPlaced,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    SagaTimedOut,
    ShipmentLabelled,
)
from schemas.saga import STATUS_BY_EVENT, SagaStatus
from tests.choreography.planted.variations import (
    NOTHING,
    FraudCleared,
    FraudFlagged,
    agent_of,
    changed,
    contract_with,
    owned_by,
    reacting,
    signed,
    sound,
    statuses_with,
    system,
    topics_with,
)


class CarrierSwitchedAgain(ChainEvent):
    """The second carrier is given up too; a third one takes over."""


@sound
def the_real_one() -> Choreography:
    return system()


@sound
def fraud_agent_on_the_way() -> Choreography:
    screen = retriable(by_hand=FraudFlagged)(reacting(OrderPlaced, FraudCleared | FraudFlagged))
    return system(
        agent_of("fraud", {"screen": screen}),
        changed(Payment, create=signed(Payment, "create", consumes=FraudCleared)),
        topics=owned_by("fraud"),
        contract=contract_with(FraudCleared, FraudFlagged),
        statuses=statuses_with(FraudCleared=SagaStatus.STARTED, FraudFlagged=SagaStatus.FAILED),
    )


@sound
def fraud_agent_beside_the_way() -> Choreography:
    watch = retriable()(reacting(OrderPlaced, FraudFlagged | NOTHING))
    triggers = OrderCancelRequested | SagaTimedOut | FraudFlagged
    return system(
        agent_of("fraud", {"watch": watch}),
        changed(Payment, stop=signed(Payment, "stop", consumes=triggers)),
        topics=owned_by("fraud"),
        contract=contract_with(FraudFlagged),
        statuses=statuses_with(FraudFlagged=None),
    )


@sound
def second_agent_that_tells_people() -> Choreography:
    ended = PaymentCaptured | PaymentDeclined | PaymentVoided | PaymentRefunded
    send = retriable()(reacting(ended, NOTHING))
    return system(agent_of("newsletter", {"send": send}), topics=owned_by("newsletter"))


@sound
def second_observer() -> Choreography:
    return system(agent_of("analytics", {}, observes=True))


@sound
def nobody_is_notified() -> Choreography:
    kept = {name: event for name, event in EVENTS.items() if name != "Notified"}
    rows = {name: row for name, row in STATUS_BY_EVENT.items() if name != "Notified"}
    return system(
        without=(Notification.name,),
        topics=topics_with(notification_events=None),
        contract=kept,
        statuses=rows,
    )


@sound
def third_carrier() -> Choreography:
    """Two handlers continue one step, each after a decision of its own."""
    again = signed(
        Shipping,
        "label_again",
        failing=CarrierSwitchedAgain,
        returns=ShipmentLabelled | CarrierSwitchedAgain,
    )
    third = signed(Shipping, "label_again", consumes=CarrierSwitchedAgain, returns=ShipmentLabelled)
    return system(
        changed(
            Shipping,
            label_again=again,
            label_at_the_third=third,
            abandon=None,
        ),
        contract={
            **{k: v for k, v in EVENTS.items() if k != "CarrierAbandoned"},
            "CarrierSwitchedAgain": CarrierSwitchedAgain,
        },
        statuses={
            **{k: v for k, v in STATUS_BY_EVENT.items() if k != "CarrierAbandoned"},
            "CarrierSwitchedAgain": None,
        },
    )


@sound
def one_carrier() -> Choreography:
    """Without a second carrier the step's doubt is settled at once."""
    label = signed(Shipping, "label", failing=LabelFailing, returns=ShipmentLabelled | LabelFailing)
    gone = (CarrierSwitched.__name__, "CarrierAbandoned")
    return system(
        changed(Shipping, label=label, label_again=None, abandon=None),
        contract={k: v for k, v in EVENTS.items() if k not in gone},
        statuses={k: v for k, v in STATUS_BY_EVENT.items() if k not in gone},
    )


@sound
def renamed_topics() -> Choreography:
    names = ("gateway", "payment", "inventory", "shipping", "notification", "tracker")
    renamed = {f"shop.{name}.v2": {"owner": name} for name in names}
    others = {
        "shop.in": {"owner": "outside", "role": "inbox"},
        "shop.dead": {"owner": "kernel", "role": "letters", "retention": "forever"},
        "shop.decided": {"owner": "operator", "role": "decisions", "retention": "forever"},
    }
    return system(topics=parse_topics({"partitions": 12, "topics": {**renamed, **others}}))


@sound
def longer_retention() -> Choreography:
    return system(
        topics=topics_with(
            payment_events={"owner": "payment", "retention": "forever"},
            gateway_events={"owner": "gateway", "retention": "90d"},
        )
    )


@sound
def no_replay_window_and_short_times() -> Choreography:
    short = topics_with()
    return system(
        topics=short,
        settings=Settings.model_construct(
            replay_window_ms=12 * DAY_MS,
            effect_timeout_ms=50,
            lease_ms=100,
            step_deadline_ms=200,
            saga_deadline_ms=1_000,
            breaker_wait_ms=0,
            tracker_scan_ms=10,
        ),
    )


class Ordered(ChainEvent):
    """A toy saga starts."""


class Held(ChainEvent):
    """Money is held."""


class HoldFailing(ChainEvent):
    """Holding is given up, its outcome open."""


class HoldRefused(ChainEvent):
    """Nothing is held."""


class Charged(ChainEvent):
    """The money is ours."""


class ChargeRefused(ChainEvent):
    """Nothing was charged."""


class LetGo(ChainEvent):
    """Nothing is held any more."""


class TimeIsUp(ChainEvent):
    """The toy saga took too long."""


class ChargeStopping(ChainEvent):
    """A stop was decided."""


class ChargeStopped(ChainEvent):
    """The charge will never happen."""


TOY_STATUSES: dict[type[ChainEvent], SagaStatus | None] = {
    Ordered: SagaStatus.STARTED,
    Held: SagaStatus.PAYMENT_CONFIRMED,
    HoldFailing: None,
    HoldRefused: SagaStatus.FAILED,
    Charged: SagaStatus.COMPLETED,
    ChargeRefused: SagaStatus.COMPENSATING,
    LetGo: SagaStatus.FAILED,
    TimeIsUp: None,
    ChargeStopping: None,
    ChargeStopped: SagaStatus.COMPENSATING,
    CancelRefused: None,
}


@sound
def two_step_saga_of_another_trade() -> Choreography:
    """Nothing in the rules knows payments, parcels or our event names."""
    conceding = CancelRefused | Charged
    till = {
        "hold": step(failing=HoldFailing, by_hand=HoldRefused)(
            reacting(Ordered, Held | HoldRefused)
        ),
        "settle": settles("hold", by_hand=HoldRefused)(reacting(HoldFailing, HoldRefused)),
        "charge": pivot(by_hand=ChargeRefused)(reacting(Held, Charged | ChargeRefused)),
        "let_go": compensation(undoes="hold", by_hand=LetGo)(
            reacting(ChargeRefused | ChargeStopped, LetGo)
        ),
        "stop": stops("charge")(reacting(TimeIsUp, ChargeStopping | conceding)),
        "stop_now": confirms_stop("charge", by_hand=ChargeStopped)(
            reacting(ChargeStopping, ChargeStopped | conceding)
        ),
    }
    agents = (
        agent_of("shop", {"order": intake("order")(reacting(Submission, Ordered))}),
        agent_of("till", till),
        agent_of("clock", {"unprompted": (TimeIsUp,)}, observes=True),
    )
    topics = {
        **{f"{agent.name}.said": {"owner": agent.name} for agent in agents},
        "in": {"owner": "outside", "role": "inbox"},
        "dead": {"owner": "kernel", "role": "letters", "retention": "forever"},
        "decided": {"owner": "operator", "role": "decisions", "retention": "forever"},
    }
    return Choreography.of(
        agents,
        parse_topics({"topics": topics}),
        {event.__name__: status for event, status in TOY_STATUSES.items()},
        contract={event.__name__: event for event in TOY_STATUSES},
    )
