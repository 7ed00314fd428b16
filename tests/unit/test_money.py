"""An amount is whole minor units of a currency whose minor unit we know."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.money import AMOUNT_MINOR_MAX, EXPONENTS, Money


@pytest.mark.parametrize(
    ("amount", "currency", "exponent", "text"),
    [
        (1_999, "USD", 2, "19.99 USD"),
        (5, "EUR", 2, "0.05 EUR"),
        (500, "JPY", 0, "500 JPY"),
        (1_234, "BHD", 3, "1.234 BHD"),
        (7, "KWD", 3, "0.007 KWD"),
        (0, "USD", 2, "0.00 USD"),
    ],
)
def test_money_has_the_minor_digits_of_its_currency(
    amount: int, currency: str, exponent: int, text: str
) -> None:
    """Yen have none, Bahraini dinars three; nobody has to say so."""
    found = Money(amount=amount, currency=currency)

    assert (found.exponent, str(found)) == (exponent, text)


@pytest.mark.parametrize("exponent", [-1, 0, 3, "2", 2.0, None, True])
def test_money_is_refused_with_a_foreign_exponent(exponent: object) -> None:
    """An exponent that is given must be the currency's own, as an integer."""
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": 100, "currency": "USD", "exponent": exponent})


@pytest.mark.parametrize("amount", [1.0, 19.99, "1999", True, -1, AMOUNT_MINOR_MAX + 1, None])
def test_money_is_refused_unless_it_is_whole_minor_units(amount: object) -> None:
    """A float, a text, a truth or a debt is no amount."""
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": amount, "currency": "USD"})


@pytest.mark.parametrize("currency", ["XYZ", "usd", "US", "USD\n", "", None])
def test_money_is_refused_in_an_unknown_currency(currency: object) -> None:
    """Only currencies whose minor unit we know."""
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": 1, "currency": currency})


@settings(deadline=None)
@given(st.sampled_from(sorted(EXPONENTS)), st.integers(0, AMOUNT_MINOR_MAX))
def test_money_survives_its_own_json(currency: str, amount: int) -> None:
    """No digit is lost on the way through a topic."""
    sent = Money(amount=amount, currency=currency)

    assert Money.model_validate_json(sent.model_dump_json()) == sent
