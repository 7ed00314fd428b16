"""Submissions: which order they are, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Record
from agents.kernel.submission import SUBMISSION_BYTES_MAX, order_id_of, submission_of
from tests.simulation.orders import order_body


def inbox(value: bytes | None, offset: int = 3) -> Record:
    return Record("orders.inbox", 1, offset, None, value)


def submitted(body: dict[str, Any], offset: int = 3) -> str:
    return submission_of(inbox(json.dumps(body).encode(), offset)).order_id


def test_the_order_id_is_the_bodys_if_it_names_one() -> None:
    """An outsider may choose the id."""
    assert submitted(order_body("o-77")) == "o-77"


def test_the_same_idempotency_key_is_the_same_order_of_the_same_customer() -> None:
    """The key is scoped by customer; another offset changes nothing."""
    body = {**order_body("x"), "idempotency_key": "k-1"}
    del body["order_id"]

    first, again = submitted(body, 3), submitted(body, 4)
    other = submitted({**body, "customer": "bob"})

    assert first == again == order_id_of("alice", "k-1")
    assert other != first


def test_without_id_and_key_the_place_in_the_log_names_the_order() -> None:
    """A redelivery is the same order, another record another one."""
    body = order_body("x")
    del body["order_id"]

    assert submitted(body, 3) == submitted(body, 3) != submitted(body, 4)


def test_an_id_that_is_none_gets_one_from_the_place() -> None:
    """An id with a colon would break keys; the order is told apart by its place."""
    assert submitted({**order_body("x"), "order_id": "a:b"}).startswith("o-")


def test_the_order_of_keys_and_the_key_itself_are_not_content() -> None:
    """Two spellings of one order have one hash; another price has another."""
    body = order_body("o-1")
    turned = dict(reversed(list({**body, "idempotency_key": "k"}.items())))
    dearer = {**body, "payment_token": "tok_other"}

    def digest(b: dict[str, Any]) -> str:
        return submission_of(inbox(json.dumps(b).encode())).body_hash

    assert digest(body) == digest(turned) != digest(dearer)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no body"),
        (b"  ", "no body"),
        (b"\xff\xfe{", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "not an object"),
        (b'"text"', "not an object"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested"),
        (b"[" * 100_000, "bytes"),
        (b"[" * 60_000, "not JSON"),
        (b" " * (SUBMISSION_BYTES_MAX + 1) + b"{}", "bytes"),
    ],
)
def test_what_cannot_be_read_is_poison_and_says_why(value: bytes | None, says: str) -> None:
    """Nothing readable means a dead letter with the bytes, never a guess."""
    with pytest.raises(PoisonRecord, match=says):
        submission_of(inbox(value))
