"""The notification channels: each message is accepted once per key."""

from __future__ import annotations

from agents.kernel.ports import Effect
from agents.ports import Message, Target
from agents.providers.simulator.desk import Answered, Call, Decision, Desk, NotFound
from agents.providers.simulator.idempotency import fingerprint
from agents.providers.simulator.ledger import Entry

CHANNELS = ("email", "push", "slack", "webhook", "sms")


class ChannelRules:
    """All channels. The address is not written down: a ledger is kept for long."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def send(self, effect: Effect, target: Target, message: Message) -> Answered[str]:
        """Accept the message; the answer is its id. Raises NotFound for an unknown channel."""
        if target.channel not in CHANNELS:
            raise NotFound(f"no channel {target.channel}; there are {', '.join(CHANNELS)}")
        print_ = fingerprint(
            target.name, target.address, message.outcome, message.subject, message.body
        )
        call = Call(f"{target.channel}.send", effect, print_)

        def decide() -> Decision:
            facts = {"target": target.name, "outcome": message.outcome}
            return Decision(
                "message.accepted", f"msg_{self._desk.seq + 1}", target.channel, facts=facts
            )

        return self._desk.once(self, call, decide)

    def fold(self, entry: Entry) -> str:
        """A message changes nothing but the memory of its key."""
        return entry.object_id
