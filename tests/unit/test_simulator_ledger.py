"""The ledger adds up, and says in sentences what should never have happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.providers.simulator.ledger import Entry, balance, parse_line


def entries(*kinds: Entry) -> list[Entry]:
    return [replace(entry, seq=number) for number, entry in enumerate(kinds, 1)]


def pay(kind: str, amount: int = 0, object_id: str = "pi_1", order_id: str = "o-1") -> Entry:
    return Entry(
        0, 1_000, f"payment.{kind}", "payments.x", order_id, object_id=object_id, amount=amount
    )


def stock(kind: str, quantity: int, object_id: str = "o-1") -> Entry:
    return Entry(
        0,
        1_000,
        f"stock.{kind}",
        "warehouses.x",
        "o-1",
        object_id=object_id,
        place="PHX7",
        lines={"A": quantity},
    )


def label(kind: str, carrier: str) -> Entry:
    return Entry(0, 1_000, f"label.{kind}", f"{carrier}.x", "o-1", object_id="o-1", place=carrier)


def test_line_is_read_back_as_written() -> None:
    """An entry survives its line, and empty fields take no room."""
    entry = Entry(
        3, 1_000, "stock.reserved", "warehouses.reserve", "o-1", "k", "p", 1, "o-1", "PHX7",
        lines={"A": 2}, facts={"fence": "1.1", "reason": "ö\n"},
    )  # fmt: skip

    line = entry.to_line()

    assert parse_line(line) == entry
    assert line.count(b"\n") == 1
    assert b"amount" not in line


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"seq":1}', b'{"odd":1}', b"\xff"])
def test_line_that_is_no_entry_is_refused(line: bytes) -> None:
    """Damage is told, never skipped."""
    with pytest.raises(ValueError, match="not a ledger entry"):
        parse_line(line)


def test_money_is_summed_per_order() -> None:
    """Authorised, captured, voided and refunded add up to what is held and kept."""
    found = balance(
        entries(
            pay("created", 100),
            pay("authorized", 100),
            pay("captured", 100),
            pay("refunded", 100),
            pay("authorized", 70, "pi_2", "o-2"),
            pay("voided", 70, "pi_2", "o-2"),
            pay("authorized", 50, "pi_3", "o-3"),
        )
    )

    one, two, three = (found.orders[f"o-{number}"] for number in (1, 2, 3))
    assert (one.authorised, one.captured, one.refunded, one.held, one.kept) == (100, 100, 100, 0, 0)
    assert (two.authorised, two.voided, two.held) == (70, 70, 0)
    assert three.held == 50
    assert found.violations == ()


@pytest.mark.parametrize(
    ("story", "sentence"),
    [
        ([pay("authorized", 100), pay("captured", 101)], "captures 101, but only 100 is held"),
        ([pay("authorized", 9), pay("voided", 9), pay("captured", 9)], "only 0 is held"),
        ([pay("authorized", 9), pay("captured", 9), pay("voided", 9)], "voids 9, but only 0"),
        (
            [pay("authorized", 9), pay("captured", 9), pay("refunded", 9), pay("refunded", 9)],
            "brings refunds to 18, but 9 was captured",
        ),
        ([pay("authorized", 9), pay("authorized", 9, "pi_2")], "another payment already does"),
        ([stock("initial", 1), stock("reserved", 2)], "leaves -1 of A in PHX7: oversold"),
        ([stock("initial", 5), stock("released", 2)], "does not hold these lines"),
        (
            [stock("initial", 9), stock("reserved", 2), stock("reserved", 2)],
            "reserves o-1 a second time",
        ),
        ([label("created", "fedex"), label("created", "ups")], "ends with 2 live labels"),
        ([Entry(0, 1, "weather.changed", "x")], "unknown kind"),
    ],
)
def test_violation_is_told_in_a_sentence(story: list[Entry], sentence: str) -> None:
    """Each thing that must never happen is found and named."""
    found = balance(entries(*story))

    assert any(sentence in each for each in found.violations), found.violations


def test_two_labels_are_fine_when_one_was_cancelled_at_the_end() -> None:
    """At most one live label holds at the end, not at each instant."""
    found = balance(
        entries(label("created", "fedex"), label("created", "ups"), label("cancelled", "fedex"))
    )

    assert found.orders["o-1"].live_labels == {"fedex": (), "ups": ("o-1",)}
    assert found.violations == ()


def test_hole_in_the_sequence_is_told() -> None:
    """A ledger with a missing line proves nothing."""
    found = balance([pay("created", 1), replace(pay("authorized", 1), seq=3)])

    assert "the ledger has a hole" in found.violations[0]


def test_message_told_twice_is_a_violation() -> None:
    """One key, one message."""
    told = Entry(0, 1, "message.accepted", "email.send", "o-1", "k", facts={"target": "ada"})

    found = balance(entries(told, told))

    assert found.messages == {("ada", "k"): 2}
    assert "tells ada under the key k again" in found.violations[0]
