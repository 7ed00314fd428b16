"""The contract refuses what no shop can mean, and keeps what it does not know yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.choreography.contract import BESIDE_EVENTS, schema_files
from schemas.dead_letter import DeadLetter
from schemas.envelope import event_type, parse_event_type
from schemas.events import EVENTS, ChainEvent, OrderPlaced, OrderRejected
from schemas.money import AMOUNT_MINOR_MAX
from schemas.order import LINES_MAX, QUANTITY_MAX, Order, OrderRequest

Change = Callable[[dict[str, Any]], object]


def money(amount: int, currency: str = "USD") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


def body(amount: int = 1_999, quantity: int = 1, currency: str = "USD") -> dict[str, Any]:
    """An order as a client sends it."""
    return {
        "lines": [{"sku": "MUG-1", "quantity": quantity, "unit_price": money(amount, currency)}],
        "total": money(amount * quantity, currency),
        "payment_token": "tok_visa",
        "ship_to": {
            "name": "Zoë Ångström",
            "street": "1 Main St",
            "city": "Malmö",
            "postcode": "211 20",
            "country": "SE",
        },
    }


def snapshot() -> dict[str, Any]:
    return {**body(), "order_id": "o-1", "customer": "alice"}


# ---- orders ----------------------------------------------------------------------------------


def test_order_is_accepted_when_it_adds_up() -> None:
    """The plainest order, in three kinds of currency."""
    for currency in ("USD", "JPY", "BHD"):
        request = OrderRequest.model_validate(body(750, 4, currency))

        assert request.total.amount == 3_000


def _mixed(order: dict[str, Any]) -> None:
    order["lines"].append({"sku": "TEA", "quantity": 1, "unit_price": money(1, "EUR")})


def _line(**fields: Any) -> Change:
    return lambda order: order["lines"][0].update(fields)


def _where(**fields: Any) -> Change:
    return lambda order: order["ship_to"].update(fields)


def _top(**fields: Any) -> Change:
    return lambda order: order.update(fields)


REFUSED: dict[str, Change] = {
    "total too high": _top(total=money(2_000)),
    "total too low": _top(total=money(0)),
    "total as a float": _top(total={"amount": 1999.0, "currency": "USD"}),
    "total in another currency": _top(total=money(1_999, "EUR")),
    "mixed currencies": _mixed,
    "free order": lambda order: order.update(body(0)),
    "no lines": _top(lines=[], total=money(0)),
    "too many lines": lambda order: order.update(
        lines=order["lines"] * (LINES_MAX + 1), total=money(1_999 * (LINES_MAX + 1))
    ),
    "more than any order": lambda order: order.update(body(AMOUNT_MINOR_MAX, 2)),
    "quantity 0": lambda order: order.update(body(1_999, 0)),
    "quantity -1": _line(quantity=-1),
    "quantity of a billion": lambda order: order.update(body(1, 1_000_000_000)),
    "quantity just too high": lambda order: order.update(body(1, QUANTITY_MAX + 1)),
    "quantity as text": _line(quantity="1"),
    "quantity as a float": _line(quantity=1.0),
    "quantity as a truth": _line(quantity=True),
    "empty sku": _line(sku=""),
    "sku with a line end": _line(sku="MUG-1\n"),
    "card number for a token": _top(payment_token="4242424242424242"),
    "token with a line end": _top(payment_token="tok_visa\n"),
    "line end in the name": _where(name="Zoë\nÅngström"),
    "null byte in the street": _where(street="1 Main\x00St"),
    "escape in the city": _where(city="\x1b[31mMalmö"),
    "delete in the postcode": _where(postcode="211\x7f20"),
    "C1 control in the name": _where(name="Zo\x85"),
    "lone surrogate in the name": _where(name="Zo\ud800"),
    "lone surrogate in an unknown field": _where(note="\ud800"),
    "control character in the e-mail": _top(email="a@example.com\r\nBcc: b@example.com"),
    "control character in the customer": _top(customer="alice\x00"),
    "country as a word": _where(country="Sweden"),
    "order id with a colon": _top(order_id="o:1"),
    "order id with a line end": _top(order_id="o-1\n"),
    "order id too long": _top(order_id="o" * 65),
    "idempotency key with a blank": _top(idempotency_key="a b"),
    "unknown field": _top(gift_wrap=True),
    "misspelt field": _top(ship_too={}),
    "no address": lambda order: order.pop("ship_to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_order_request_is_refused_when(case: str) -> None:
    """What no shop can mean is refused with a place in the order."""
    changed = body()
    REFUSED[case](changed)

    with pytest.raises(ValidationError):
        OrderRequest.model_validate(changed)


def test_order_request_names_the_unknown_field() -> None:
    """A misspelt field is told to its sender, not dropped: both bases' settings are merged."""
    with pytest.raises(ValidationError) as refused:
        OrderRequest.model_validate({**body(), "order_idd": "o-1"})

    assert refused.value.errors()[0]["loc"] == ("order_idd",)
    assert refused.value.errors()[0]["type"] == "extra_forbidden"


def test_order_request_is_accepted_at_every_limit() -> None:
    """The limits themselves are inside."""
    most = body(AMOUNT_MINOR_MAX // QUANTITY_MAX, QUANTITY_MAX)
    wide = {**body(), "lines": body()["lines"] * LINES_MAX, "total": money(1_999 * LINES_MAX)}

    assert OrderRequest.model_validate(most).total.amount == AMOUNT_MINOR_MAX
    assert len(OrderRequest.model_validate(wide).lines) == LINES_MAX
    OrderRequest.model_validate({**body(), "order_id": "o" * 64, "idempotency_key": "k" * 255})


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.integers(1, QUANTITY_MAX)), min_size=1, max_size=20
    ),
    st.integers(-3, 3),
)
def test_order_is_accepted_exactly_when_the_total_is_the_sum(
    lines: list[tuple[int, int]], error: int
) -> None:
    """One minor unit off is off."""
    total = sum(price * quantity for price, quantity in lines)
    order = {
        **body(),
        "lines": [
            {"sku": "A", "quantity": quantity, "unit_price": money(price)}
            for price, quantity in lines
        ],
        "total": money(total + error if total + error > 0 else total),
    }

    if order["total"]["amount"] == total:
        assert OrderRequest.model_validate(order).total.amount == total
    else:
        with pytest.raises(ValidationError, match="add up to"):
            OrderRequest.model_validate(order)


# ---- events ----------------------------------------------------------------------------------


def test_event_keeps_the_fields_of_a_newer_minor_version() -> None:
    """At every level, through parsing and writing, so that an old agent loses nothing."""
    order = snapshot()
    order["loyalty"] = {"points": [1, 2]}
    order["lines"][0]["weight_g"] = 340
    order["total"]["tax"] = 12
    order["ship_to"]["floor"] = 3
    sent = {"order": order, "refs": {"payment_id": "pi_1", "risk_id": "r-9"}, "hint": None}

    kept = json.loads(OrderPlaced.model_validate_json(json.dumps(sent)).model_dump_json())

    assert kept["order"]["loyalty"] == {"points": [1, 2]}
    assert kept["order"]["lines"][0]["weight_g"] == 340
    assert kept["order"]["total"]["tax"] == 12
    assert kept["order"]["ship_to"]["floor"] == 3
    assert kept["refs"]["risk_id"] == "r-9"
    assert kept["hint"] is None


def test_every_event_survives_its_own_json() -> None:
    """Writing and reading an event changes nothing."""
    order = Order.model_validate(snapshot())
    for name, model in EVENTS.items():
        fields: dict[str, Any] = {"order": order}
        if not issubclass(model, ChainEvent):
            fields = {"order_id": "o-1", "reason": "no", "errors": ({"pointer": "/total"},)}

        event = model.model_validate(fields)

        assert model.model_validate_json(event.model_dump_json()) == event, name


def test_every_event_but_the_rejection_carries_the_order() -> None:
    """Whoever reacts needs no join; a rejected order has nothing to carry."""
    bare = {name for name, model in EVENTS.items() if not issubclass(model, ChainEvent)}

    assert bare == {OrderRejected.__name__}


def test_reason_is_refused_when_it_is_longer_than_a_screen() -> None:
    """Every later event carries it."""
    with pytest.raises(ValidationError):
        OrderPlaced.model_validate({"order": snapshot(), "reason": "x" * 1_001})


@pytest.mark.parametrize("name", EVENTS)
def test_event_type_is_read_back(name: str) -> None:
    """The CloudEvents type names the event and its major version."""
    assert parse_event_type(event_type(name, 7)) == (name, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OrderPlaced",
        "dev.chorale.OrderPlaced",
        "dev.chorale..v1",
        "dev.chorale.OrderPlaced.v",
        "dev.chorale.OrderPlaced.v1.0",
        "dev.chorale.OrderPlaced.v-1",
        "dev.chorale.OrderPlaced.v1234567",
        "dev.chorale.OrderPlaced.v\u0661",
        "com.example.OrderPlaced.v1",
    ],
)
def test_event_type_is_none_when_it_is_not_ours(text: str) -> None:
    """A foreign or torn type is told apart before any body is read."""
    assert parse_event_type(text) is None


# ---- schemas ---------------------------------------------------------------------------------


def test_schemas_cover_everything_that_crosses_a_door() -> None:
    """Orders, events, letters and decisions."""
    beside = {model.__name__ for model in BESIDE_EVENTS}

    assert beside >= {"Order", "OrderRequest", "DeadLetter", "OperatorDecision"}
    assert set(schema_files()) == {f"{name}.json" for name in beside | set(EVENTS)}


def test_schema_forbids_unknown_fields_of_a_submission_only() -> None:
    """A stranger's unknown field is a mistake, an event's one is a newer minor version."""
    schemas = {name: json.loads(text) for name, text in schema_files().items()}

    closed = {name for name, s in schemas.items() if s["additionalProperties"] is False}

    assert closed == {"OrderRequest.json"}


def test_schema_promises_no_default_that_nobody_ever_sees() -> None:
    """A missing exponent is the currency's own, not the -1 inside the model."""
    schema = json.loads(schema_files()["Order.json"])

    assert "default" not in schema["$defs"]["Money"]["properties"]["exponent"]


def test_letter_can_be_written_when_nothing_could_be_read() -> None:
    """A poison record has neither order nor step; only its origin is certain."""
    letter = DeadLetter.model_validate(
        {
            "letter_id": "l-1",
            "agent": "",
            "direction": "none",
            "cause": "poison",
            "error_type": "PoisonRecord",
            "error": "not JSON",
            "raised_at_ms": 1,
            "origin": {"topic": "orders.inbox", "partition": 0, "offset": 0},
        }
    )

    assert DeadLetter.model_validate_json(letter.model_dump_json()) == letter
