"""The orders of the simulation: one for each scenario, built from the simulator's magic inputs."""

from __future__ import annotations

import json
from typing import Any

SCENARIOS: dict[str, dict[str, str]] = {
    "happy": {},
    "payment-declined": {"token": "tok_declined"},
    "screened": {"token": "tok_fraud"},
    "out-of-stock": {"sku": "SKU-OUT-OF-STOCK"},
    "fedex-down": {"postcode": "00001"},
    "fedex-refuses": {"postcode": "00004"},
    "all-carriers-down": {"postcode": "00002"},
    "slow-carrier": {"postcode": "00003"},
    "capture-fails": {"token": "tok_capture_fails"},
    "create-doubt": {"token": "tok_create_doubt"},
    "confirm-doubt": {"token": "tok_confirm_doubt"},
    "capture-doubt": {"token": "tok_capture_doubt"},
    "chaos": {"token": "tok_chaos"},
}
"""Scenarios that end without a person."""
VOID_FAILS = {"token": "tok_void_fails", "sku": "SKU-OUT-OF-STOCK"}
"""Out of stock, and the void is refused on its first logical attempt: it ends in a letter."""


def order_body(order_id: str, scenario: str = "happy", quantity: int = 2) -> dict[str, Any]:
    """A submission of two lines."""
    inputs = VOID_FAILS if scenario == "void-fails" else SCENARIOS[scenario]
    return {
        "order_id": order_id,
        "customer": "alice",
        "lines": [
            {
                "sku": inputs.get("sku", "SKU-1"),
                "quantity": quantity,
                "unit_price": {"amount": 1_050, "currency": "USD"},
            },
            {"sku": "SKU-2", "quantity": 1, "unit_price": {"amount": 900, "currency": "USD"}},
        ],
        "total": {"amount": 1_050 * quantity + 900, "currency": "USD"},
        "payment_token": inputs.get("token", "tok_visa"),
        "ship_to": {
            "name": "Alice",
            "street": "1 Main St",
            "city": "Phoenix",
            "postcode": inputs.get("postcode", "85001"),
            "country": "US",
        },
    }


def as_bytes(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
