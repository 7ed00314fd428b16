"""`check` finds every planted defect, and no sound choreography is complained about."""

from __future__ import annotations

import time

import pytest

from agents.bootstrap import AGENTS
from agents.choreography.graph import Choreography
from agents.choreography.rules import RULES, check
from agents.choreography.way import way_to_pivot
from agents.kernel.errors import ConfigurationError
from agents.kernel.topics import load_topics
from agents.letters import SUPERSEDED_BY
from schemas.events import OrderRejected
from tests.choreography.planted import DEFECTS, SOUND
from tests.choreography.planted.variations import system, topics_with

CHECK_S_MAX = 1.0
"""`check` runs at every start and on every save; it takes some 15 ms of processor time."""
LOCAL_SUBSCRIPTIONS = {
    "gateway": {"orders.inbox"},
    "payment": {"gateway", "payment", "inventory", "shipping", "tracker"},
    "inventory": {"payment", "inventory", "shipping"},
    "shipping": {"inventory", "shipping", "payment"},
    "notification": {"payment"},
}


@pytest.fixture(scope="module")
def real() -> Choreography:
    return Choreography.of(AGENTS, load_topics())


@pytest.mark.parametrize("name", DEFECTS)
def test_check_finds_the_planted_defect(name: str) -> None:
    """The expected rule finds it and names the culprit, within a second."""
    defect = DEFECTS[name]
    started = time.process_time()

    findings = check(defect.plant())

    assert time.process_time() - started < CHECK_S_MAX
    said = [f.sentence for f in findings if f.rule == defect.rule]
    assert any(defect.says in sentence for sentence in said), "\n".join(map(str, findings))


@pytest.mark.parametrize("name", SOUND)
def test_check_is_silent_about_a_sound_choreography(name: str) -> None:
    """No false alarm, within a second."""
    started = time.process_time()

    findings = check(SOUND[name]())

    assert time.process_time() - started < CHECK_S_MAX
    assert findings == []


def test_every_rule_has_a_planted_defect() -> None:
    """A rule that nothing breaks is a rule that may be broken itself."""
    broken = {defect.rule for defect in DEFECTS.values()}

    assert {rule.__name__ for rule in RULES} == broken


def test_findings_are_sentences_when_printed() -> None:
    """A finding says what to do and ends like a sentence; the rule's name follows."""
    for defect in DEFECTS.values():
        for finding in check(defect.plant()):
            assert finding.sentence.endswith("."), finding
            assert str(finding).endswith(f"[{finding.rule}]")


def test_way_to_the_pivot_is_derived_from_signatures(real: Choreography) -> None:
    """Nobody writes the order of the steps down; here it is what everybody expects."""
    way = way_to_pivot(real)

    assert [h.step for h in way.steps] == [
        "place",
        "create",
        "confirm",
        "reserve",
        "label",
        "capture",
    ]
    assert [h and h.name for h in way.undoing] == [None, "void", "void", "release", "cancel", None]


@pytest.mark.parametrize("agent", LOCAL_SUBSCRIPTIONS)
def test_participant_reads_what_it_reacts_to_and_the_decisions(
    agent: str, real: Choreography
) -> None:
    """Its own topic too where it reacts to itself, and the inbox only if it has an intake."""
    owners = {t.owner: t.name for t in load_topics().all}
    expected = {owners.get(name, name) for name in LOCAL_SUBSCRIPTIONS[agent]}

    assert set(real.subscriptions(agent)) == expected | {"chorale.decisions"}


def test_observer_reads_every_event_letter_and_decision(real: Choreography) -> None:
    """All topics but the inbox, which holds nothing that has happened."""
    every = {topic.name for topic in load_topics().all}

    assert set(real.subscriptions("tracker")) == every - {"orders.inbox"}


def test_subscription_fails_when_an_emitter_owns_no_topic() -> None:
    """The sentence names the line that is missing in topics.yaml."""
    headless = system(topics=topics_with(shipping_events=None))

    with pytest.raises(ConfigurationError, match="shipping owns no topic"):
        headless.subscriptions("payment")


def test_consuming_steps_are_the_ledger_records_that_react(real: Choreography) -> None:
    """A compensation and a stop react on the record of the step that they undo or stop."""
    steps = real.consuming_steps

    assert steps["OrderPlaced"] == {"create"}
    assert steps["StockReleased"] == {"confirm"}
    assert steps["SagaTimedOut"] == {"capture"}
    assert steps["CarrierAbandoned"] == {"abandon"}
    assert steps["PaymentCaptured"] == {"notify"}
    assert "Notified" not in steps


def test_undone_by_names_the_outcomes_of_the_compensation(real: Choreography) -> None:
    """A step undone in a group has the outcomes of the group's compensation."""
    assert real.undone_by == {
        "create": {"PaymentVoided", "PaymentRefunded"},
        "confirm": {"PaymentVoided", "PaymentRefunded"},
        "reserve": {"StockReleased"},
        "label": {"ShipmentCancelled"},
    }


def test_refusal_of_a_contradiction_is_an_emission(real: Choreography) -> None:
    """What an agent answers to a contradicting repeat stands in its signature, too."""
    causes = {str(e.cause) for e in real.emitted_by[OrderRejected.__name__]}

    assert causes == {"returned", "contradiction"}


def test_choreography_takes_default_settings_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only bootstrap reads the environment; a check of the defaults is a check of the defaults."""
    monkeypatch.setenv("CHORALE_LEASE_MS", "123")

    choreography = Choreography.of(AGENTS, load_topics())

    assert choreography.settings.lease_ms == 15_000


def test_letters_are_superseded_as_the_choreography_says(real: Choreography) -> None:
    """The table in `agents/letters.py` is written for readers without agents; it must agree."""
    table = {step: frozenset(outcomes) for step, outcomes in SUPERSEDED_BY.items()}

    assert table == real.undone_by
