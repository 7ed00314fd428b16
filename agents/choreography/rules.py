"""`check`: what is wrong with a choreography, in sentences that say what to do.

Every rule is a small function of its own name: it takes the choreography and yields a sentence for
each place that breaks it. They stand in three files by what they speak of: events, steps, and the
topics and times around them. All run without a broker, in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agents.choreography import rules_of_events as events
from agents.choreography import rules_of_places as places
from agents.choreography import rules_of_steps as steps
from agents.choreography import rules_of_undoing as undoing
from agents.choreography.graph import Choreography

Rule = Callable[[Choreography], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect: the rule that it breaks, and what to do."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.sentence} [{self.rule}]"


RULES: tuple[Rule, ...] = (
    events.signature_types_are_known,
    events.consumed_event_has_an_emitter,
    events.emitted_event_has_a_consumer_or_is_final,
    events.event_has_one_emitting_agent,
    events.contract_has_no_unused_event,
    events.fold_is_total,
    events.chain_events_carry_the_order,
    events.kernel_can_make_the_event,
    events.no_event_brings_itself_about,
    events.every_path_ends,
    events.compensating_leads_to_failed,
    events.after_the_end_only_retriable_steps_react,
    steps.agent_names_are_unique,
    steps.step_belongs_to_one_agent,
    steps.step_has_one_reaction_of_a_role,
    steps.reaction_names_a_step_of_its_agent,
    steps.inbox_has_one_reader,
    steps.observer_commands_nobody,
    steps.exactly_one_pivot,
    steps.pivot_can_complete_the_saga,
    steps.way_to_the_pivot_does_not_fork,
    steps.step_leads_to_the_pivot_or_is_retriable,
    steps.person_can_settle_what_the_saga_waits_for,
    undoing.step_before_the_pivot_can_be_undone,
    undoing.step_after_the_pivot_is_never_undone,
    undoing.failing_event_is_settled_by_its_own_agent,
    undoing.trigger_of_a_compensation_counts_as_compensating,
    undoing.compensations_run_in_reverse_order,
    undoing.refusal_leaves_nothing_standing,
    undoing.outcome_of_a_compensation_is_its_own,
    undoing.stop_is_confirmed_on_its_own_event,
    undoing.time_out_stops_the_pivot,
    places.agent_owns_one_topic,
    places.owner_of_a_topic_is_an_agent,
    places.partitions_are_equal,
    places.event_topics_outlive_a_replay,
    places.letters_and_decisions_never_expire,
    places.every_wait_has_a_deadline,
)


def check(choreography: Choreography) -> list[Finding]:
    """Every defect, in the order of the rules; an empty list is a sound choreography."""
    return [Finding(rule.__name__, sentence) for rule in RULES for sentence in rule(choreography)]
