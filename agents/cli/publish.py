"""`chorale publish`: orders straight into Kafka, as any producer in any language may write them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.adapters.system import SystemIds
from agents.cli.connect import log_of
from agents.cli.output import DONE, FAILED, PARTLY, Json, Speaker, WrongUsage, command
from agents.cli.running import settings_here
from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Outgoing
from agents.kernel.submission import DIRECT_CUSTOMER, order_id_of, parse_body
from agents.kernel.topics import load_topics

PUBLISH_BATCH = 500
"""Records of one publish: a few hundred kilobytes."""
ANNOTATIONS = ("scenario", "group", "via")
"""Members of the example lines that are meant for the demo; they are no part of an order."""

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file of NDJSON, or - for stdin.")]


@command
async def publish(source: Source, *, as_json: Json = False) -> int:
    """Write orders straight into Kafka, one JSON object a line, past the HTTP gateway."""
    _refuse_missing(source)
    settings, _ = settings_here()
    topic = load_topics().inbox
    speaker = Speaker(as_json=as_json)
    sent, faults = 0, []
    async with log_of(settings) as log:
        batch: list[Outgoing] = []
        for number, found in submissions(_lines(source), topic):
            if isinstance(found, str):
                faults.append({"line": number, "error": found})
                sys.stderr.write(f"chorale: line {number}: {found}\n")
                continue
            batch.append(found)
            if len(batch) == PUBLISH_BATCH:
                await log.publish(batch)
                sent, batch = sent + len(batch), []
        await log.publish(batch)
        sent += len(batch)
    speaker.say(f"{sent} order(s) written to {topic}; watch them with `chorale sagas`")
    speaker.result({"sent": sent, "topic": topic, "malformed": faults})
    if not faults:
        return DONE
    return PARTLY if sent else FAILED


def submissions(lines: Iterable[bytes], topic: str) -> Iterator[tuple[int, Outgoing | str]]:
    """For each line that is not blank its number, and its record or what is wrong with it."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            body = parse_body(line.strip())
        except PoisonRecord as error:
            yield number, str(error)
        else:
            yield number, submission(body, topic)


def submission(body: dict[str, Any], topic: str) -> Outgoing:
    """The inbox record of an order: keyed by its id, so that it comes after its like."""
    bare = {name: value for name, value in body.items() if name not in ANNOTATIONS}
    value = json.dumps(bare, ensure_ascii=False).encode("utf-8", "surrogatepass")
    key = inbox_order_id(bare) or SystemIds().token()
    return Outgoing(topic, key.encode("utf-8", "replace"), value)


def inbox_order_id(body: dict[str, Any]) -> str:
    """The id that the gateway agent will give the order; empty if its offset decides."""
    if isinstance(body.get("order_id"), str):
        return str(body["order_id"])
    if isinstance(body.get("idempotency_key"), str) and body["idempotency_key"]:
        customer = body.get("customer")
        known = customer if isinstance(customer, str) and customer else DIRECT_CUSTOMER
        return order_id_of(known, body["idempotency_key"])
    return ""


def _refuse_missing(source: str) -> None:
    if source != "-" and not Path(source).is_file():
        raise WrongUsage(f"there is no file {source}; give a file of NDJSON, or - for stdin")


def _lines(source: str) -> Iterator[bytes]:
    if source == "-":
        yield from sys.stdin.buffer
        return
    with Path(source).open("rb") as file:
        yield from file
