"""The scenarios, the example orders, and the six stages that are drawn of them."""

from __future__ import annotations

import pytest

from agents.cli import rail
from agents.cli.demo_orders import groups_of, read_examples
from agents.cli.publish import ANNOTATIONS, inbox_order_id
from agents.kernel.chaos import Failure, Place, draw
from agents.kernel.errors import ConfigurationError
from agents.scenarios import SCENARIOS, End, chaos_ends
from schemas.order import OrderRequest

EXAMPLES = read_examples()
ASKED_FOR = (
    "happy payment-declined out-of-stock fedex-down all-carriers-down capture-fails void-fails "
    "duplicate-order cancel slow-carrier chaos screened create-doubt confirm-doubt capture-doubt"
).split()


@pytest.mark.parametrize("name", ASKED_FOR)
def test_scenario_is_a_valid_order_when_it_is_submitted(name: str) -> None:
    """Every scenario is told by a valid order."""
    OrderRequest.model_validate(SCENARIOS[name].body(quantity=3))


def test_examples_show_every_scenario_when_the_demo_reads_them() -> None:
    """At least fifty orders, with every scenario among them, through both doors."""
    assert len(EXAMPLES) >= 50
    assert {example.story.name for example in EXAMPLES} == set(SCENARIOS)
    assert {example.via for example in EXAMPLES} == {"http", "inbox"}


def test_examples_are_valid_orders_when_their_annotations_are_left_out() -> None:
    """Each line is an order that can be published as it is."""
    for example in EXAMPLES:
        bare = {k: v for k, v in example.body.items() if k not in ANNOTATIONS}
        OrderRequest.model_validate(bare)
        assert example.via == "http" or inbox_order_id(bare)


def test_examples_have_keys_of_their_own_when_they_are_placed() -> None:
    """No two lines are the same order by accident."""
    keys = [example.key for example in EXAMPLES]

    assert len(set(keys)) == len(keys)


def test_examples_keep_groups_together_when_they_are_read() -> None:
    """Groups follow one another as in the file."""
    names = list(groups_of(EXAMPLES))

    assert names == sorted(names)
    assert sum(map(len, groups_of(EXAMPLES).values())) == len(EXAMPLES)


def test_broken_line_is_named_when_a_file_is_read(tmp_path: object) -> None:
    """A line that is no example is named by file and number."""
    path = tmp_path / "orders.ndjson"  # type: ignore[operator]
    path.write_text('\n{"scenario": "unheard-of", "via": "http"}\n')

    with pytest.raises(ConfigurationError, match="line 2"):
        read_examples(path)


def test_chaos_end_is_foretold_when_only_the_order_id_is_known() -> None:
    """Every place of failure has an end, and only undoings and the capture may need a person."""
    places: dict[Place, set[End]] = {}
    for number in range(2_000):
        order_id = f"chaos-{number}"
        places.setdefault(draw(order_id).place, set()).add(chaos_ends(order_id).first)

    assert places[Place.CAPTURE] == {End.COMPLETED, End.FAILED, End.PERSON}
    assert places[Place.CONFIRM] == {End.COMPLETED, End.FAILED}
    for place in (Place.CANCEL, Place.RELEASE, Place.VOID):
        assert places[place] == {End.FAILED, End.PERSON}


def test_chaos_at_a_label_ends_well_when_only_one_carrier_fails() -> None:
    """A refusal is that of every carrier; whatever else happens, the second one delivers."""
    ends: dict[Failure, set[End]] = {}
    for number in range(2_000):
        chaos = draw(f"chaos-{number}")
        if chaos.place is Place.LABEL:
            ends.setdefault(chaos.failure, set()).add(chaos_ends(f"chaos-{number}").first)

    assert ends.pop(Failure.REFUSED) == {End.FAILED}
    assert set(ends) == set(Failure) - {Failure.REFUSED}
    assert all(found == {End.COMPLETED} for found in ends.values())


HAPPY = "OrderPlaced PaymentCreated PaymentAuthorized StockReserved ShipmentLabelled".split()


def test_stages_advance_when_events_are_seen() -> None:
    """Each stage waits, works and is done in its turn."""
    assert list(rail.stages(set()).values()) == ["waiting"] * 6
    assert rail.stages({"OrderPlaced"})["Payment"] == "working"
    assert rail.stages(set(HAPPY))["Complete"] == "working"

    done = rail.stages({*HAPPY, "PaymentCaptured", "Notified"})
    assert set(done.values()) == {"ok"}


def test_stages_run_back_when_an_order_is_undone() -> None:
    """What was undone is told apart from what failed."""
    events = {*HAPPY, "PaymentCaptureFailed", "ShipmentCancelled", "StockReleased"}

    found = rail.stages({*events, "PaymentVoided"})

    assert [found[name] for name in ("Payment", "Inventory", "Shipping")] == ["undone"] * 3
    assert found["Complete"] == "failed"


def test_rail_says_each_state_in_words_when_it_is_drawn() -> None:
    """Shape and colour are never the only sign."""
    plain = rail.draw({"OrderPlaced"}, colour=False)

    assert "Gateway ok" in plain
    assert "Payment working" in plain
    assert "\x1b" not in plain
    assert "\x1b" in rail.draw({"OrderPlaced"}, colour=True)
