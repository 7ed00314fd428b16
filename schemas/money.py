"""Money in integer minor units; a float never holds an amount.

`exponent` says how many decimal digits the currency's minor unit has (ISO 4217): 2 for USD,
0 for JPY, 3 for BHD. It travels with every amount so that no reader has to own the table.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

AMOUNT_MINOR_MAX = 10**12
"""Ten billion dollars: far above any order, far below where JSON readers lose integers (2**53)."""

EXPONENTS = {
    **dict.fromkeys(("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF").split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys(
        (
            "AED ARS AUD BGN BRL CAD CHF CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR MAD MXN "
            "MYR NGN NOK NZD PEN PHP PLN QAR RON SAR SEK SGD THB TRY TWD UAH USD ZAR"
        ).split(),
        2,
    ),
}
"""Minor-unit digits of the currencies that are accepted (source: ISO 4217, table A.1)."""


_ACCEPTED = ", ".join(sorted(EXPONENTS))


def _hide_default(schema: dict[str, JsonValue]) -> None:
    """The default stands for "not given" and is never seen; a schema must not promise it."""
    schema.pop("default")


class Money(BaseModel):
    """An amount of one currency, in its minor unit."""

    model_config = ConfigDict(frozen=True, extra="allow")

    amount: int = Field(ge=0, le=AMOUNT_MINOR_MAX, strict=True, description="Minor units.")
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217 code.")
    exponent: int = Field(
        default=-1,
        strict=True,
        description="Decimal digits of the minor unit; the currency's own if it is missing.",
        json_schema_extra=_hide_default,
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_exponent(cls, data: object) -> object:
        if isinstance(data, dict) and "exponent" not in data:
            return {**data, "exponent": EXPONENTS.get(str(data.get("currency")), -1)}
        return data

    @model_validator(mode="after")
    def _known_currency(self) -> Self:
        expected = EXPONENTS.get(self.currency)
        if expected is None:
            raise ValueError(f"currency {self.currency} is not accepted; accepted are {_ACCEPTED}")
        if self.exponent != expected:
            raise ValueError(f"{self.currency} has exponent {expected}, not {self.exponent}")
        return self

    def times(self, quantity: int) -> int:
        """The minor units of `quantity` such amounts."""
        return self.amount * quantity

    def __str__(self) -> str:
        return amount_text(self.amount, self.currency)


def amount_text(minor: int, currency: str) -> str:
    """Minor units as people write them, with the currency; also sums beyond any one order."""
    exponent = EXPONENTS[currency]
    if exponent == 0:
        return f"{minor} {currency}"
    whole, rest = divmod(minor, 10**exponent)
    return f"{whole}.{rest:0{exponent}d} {currency}"
