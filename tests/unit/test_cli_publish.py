"""`chorale publish`: lines of NDJSON as inbox records."""

from __future__ import annotations

import json

from agents.cli.publish import submission, submissions
from agents.kernel.ports import Record
from agents.kernel.submission import submission_of
from agents.scenarios import SCENARIOS

TOPIC = "orders.inbox"


def test_malformed_lines_are_numbered_when_others_are_fine() -> None:
    """A malformed line is told by its number, and stops no other; blank lines are nothing."""
    lines = [b'{"a": 1}\n', b"\n", b"nonsense\n", b"[1]\n", b'{"b": 2}']

    found = dict(submissions(lines, TOPIC))

    assert [n for n, what in found.items() if isinstance(what, str)] == [3, 4]
    assert [n for n, what in found.items() if not isinstance(what, str)] == [1, 5]


def test_annotations_are_left_out_when_an_example_is_published() -> None:
    """The demo's own members are no part of the order."""
    record = submission({"scenario": "happy", "group": "1", "via": "inbox", "total": 1}, TOPIC)

    assert json.loads(record.value) == {"total": 1}


def test_record_key_is_the_order_id_when_the_gateway_reads_it() -> None:
    """The inbox record lies on the partition of the order that it becomes."""
    body = SCENARIOS["happy"].body()
    for more in (
        {"order_id": "mine"},
        {"idempotency_key": "k-1"},
        {"idempotency_key": "k-1", "customer": "ada"},
    ):
        sent = submission({**body, **more}, TOPIC)
        read = submission_of(Record(TOPIC, 0, 0, sent.key, sent.value))

        assert sent.key.decode() == read.order_id
