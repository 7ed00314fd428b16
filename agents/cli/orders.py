"""`chorale token` and `chorale order`: a customer at the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from agents.adapters.system import SystemIds
from agents.cli.follow import Look, Sight, follow, sight_of_answer, until
from agents.cli.gateway_client import TOKEN_S, GatewayClient, gateway, token_of
from agents.cli.output import (
    DONE,
    FAILED,
    Json,
    Speaker,
    WrongUsage,
    command,
)
from agents.cli.running import gateway_url, settings_here
from agents.scenarios import SCENARIOS, Also, Scenario

SUBJECT = "you"
"""The customer of the commands that need one and are told none."""
FOLLOW_S = 120.0
"""Twice the saga's deadline."""

Subject = Annotated[str, typer.Option(help="The customer whom the token names.")]
Story = Annotated[str, typer.Option("--scenario", help=f"One of {', '.join(SCENARIOS)}.")]
Key = Annotated[str, typer.Option(help="Idempotency key; the same key is the same order.")]


@command
async def token(
    *,
    subject: Subject = SUBJECT,
    valid_s: Annotated[int, typer.Option(help="Seconds that it lives.")] = TOKEN_S,
    as_json: Json = False,
) -> int:
    """Print a development token for the gateway."""
    settings, _ = settings_here()
    try:
        made = token_of(settings, subject, valid_s)
    except ValueError as error:
        raise WrongUsage(str(error)) from error
    speaker = Speaker(as_json=as_json)
    speaker.say(made)
    speaker.result({"token": made, "subject": subject, "valid_s": valid_s})
    return DONE


@command
async def order(
    *,
    scenario: Story = "happy",
    follow_it: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Watch the order until it has ended.")
    ] = True,
    subject: Subject = SUBJECT,
    key: Key = "",
    as_json: Json = False,
) -> int:
    """Place one order over HTTP and watch it finish."""
    story = story_of(scenario)
    settings, running = settings_here()
    address = gateway_url(settings, running)
    speaker = Speaker(as_json=as_json)
    async with gateway(address, token_of(settings, subject)) as client:
        placed = await place(client, story, key or SystemIds().token())
        speaker.say(f"order {placed.order_id}: {story.name}, {story.says}")
        if placed.repeated:
            speaker.say("  this key was used before: it is the same order, nothing happens twice")
        if not follow_it:
            speaker.result({"order_id": placed.order_id, "scenario": story.name})
            return DONE
        sight = await follow(look_at(client, placed.order_id), speaker, FOLLOW_S)
    return _ended(story, sight, speaker)


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that the gateway has accepted."""

    order_id: str
    repeated: bool


async def place(client: GatewayClient, story: Scenario, key: str) -> Placed:
    """Place a story's order, and do what else belongs to the story."""
    return await place_body(client, story.body(), story.also, key)


async def place_body(client: GatewayClient, body: dict[str, Any], also: Also, key: str) -> Placed:
    """Place an order, and repeat or cancel it if that is its story."""
    answer = await client.place(body, key)
    order_id = str(answer.document["order_id"])
    if also is Also.REPEAT:
        again = await client.place(body, key)
        assert again.document["order_id"] == order_id, "one key is one order"
    if also is Also.CANCEL:
        look = look_at(client, order_id)
        await until(look, lambda sight: "StockReserved" in sight.seen, FOLLOW_S)
        await client.cancel(order_id, "the customer changed their mind")
    return Placed(order_id, answer.repeated)


def look_at(client: GatewayClient, order_id: str) -> Look:
    """Looks at an order through the gateway."""

    async def look() -> Sight | None:
        document = await client.read(order_id)
        return sight_of_answer(document) if document else None

    return look


def story_of(name: str) -> Scenario:
    """The scenario of that name. Raises WrongUsage with the list."""
    if name not in SCENARIOS:
        raise WrongUsage(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _ended(story: Scenario, sight: Sight, speaker: Speaker) -> int:
    expected = story.ends_of(sight.order_id).first
    as_expected = sight.end is expected
    how = f"{sight.status.value} after {sight.duration_s:.2f} s"
    if sight.waiting_for_person:
        how += "; it waits for a person: see `chorale dlq list`"
    speaker.say(how if as_expected else f"{how}; expected was {expected}")
    speaker.result({**sight.document(), "scenario": story.name, "as_expected": as_expected})
    return DONE if as_expected else FAILED
