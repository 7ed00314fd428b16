"""What `chorale up` says when everything runs: what it found, what that guarantees, what to try."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import Any

from agents.adapters.embedded import Started
from agents.cli.gateway_client import token_of
from agents.cli.machine import Machine
from agents.cli.orders import SUBJECT
from agents.cli.services import described

NAME_WIDTH = 10
VERSION_WIDTH = 34
ADDRESS_WIDTH = 28
"""Of the columns."""


def lines(machine: Machine, took_s: float) -> Iterator[str]:
    """The banner, line by line; with a token in the curl line, which is its only secret."""
    for role, service in roles(machine).items():
        version = f"{service.name} {service.version}".strip()
        pid = f"pid {service.pid}" if service.pid else ""
        columns = f"{version:<{VERSION_WIDTH}}{service.address:<{ADDRESS_WIDTH}}{pid}"
        yield f"{role:<{NAME_WIDTH}}{columns}".rstrip()
        yield f"{'':<{NAME_WIDTH}}  {service.guarantee}"
    for name, agent in machine.agents.items():
        yield f"{'agent':<{NAME_WIDTH}}{name:<{VERSION_WIDTH}}{'':<{ADDRESS_WIDTH}}pid {agent.pid}"
    running = machine.running
    yield f"{'gateway':<{NAME_WIDTH}}{running.gateway_url}   Python {platform.python_version()}"
    yield f"{'data':<{NAME_WIDTH}}{running.data_dir}   logs in logs/, this process is {os.getpid()}"
    if machine.services.moved_aside is not None:
        yield (
            f"{'note':<{NAME_WIDTH}}the last shutdown was not in order, so log, store and the "
            f"simulator's ledger were moved to {machine.services.moved_aside}"
        )
    yield ""
    yield f"Everything runs after {took_s:.1f} s. In another terminal:"
    yield ""
    yield f"  {curl(machine)}"
    yield ""
    folder = machine.settings.data_dir
    if folder != type(machine.settings).model_fields["data_dir"].default:
        yield f"  export CHORALE_DATA_DIR={folder}"
    for command, says in TO_TRY:
        yield f"  {command:<38}{says}"
    yield ""
    yield "Ctrl-C ends everything in order."


TO_TRY = (
    ("chorale order", "one order, watch it finish"),
    ("chorale order --scenario void-fails", "one that ends as a dead letter"),
    ("chorale dlq list", "what waits for a person, and what is owed"),
    ("chorale dlq replay --all --why fixed", "send it back"),
    ("chorale sagas", "the latest orders"),
    ("chorale audit", "log and providers' ledger, to the last cent"),
    ("kill -9 PID", "an agent in mid-order, and see it finish"),
)


def roles(machine: Machine) -> dict[str, Started]:
    """Broker, store and providers by what they are for."""
    found = described(machine.settings, machine.services)
    return dict(zip(("broker", "store", "providers"), found, strict=True))


def document(machine: Machine, took_s: float) -> dict[str, Any]:
    """The banner for programs; without a secret."""
    running = machine.running
    moved = machine.services.moved_aside
    return {
        "pid": running.pid,
        "gateway_url": running.gateway_url,
        "data_dir": running.data_dir,
        "moved_aside": str(moved) if moved else None,
        "took_s": round(took_s, 1),
        "services": {
            role: {
                "name": service.name,
                "version": service.version,
                "address": service.address,
                "pid": service.pid,
                "guarantee": service.guarantee,
            }
            for role, service in roles(machine).items()
        },
        "agents": {name: agent.pid for name, agent in machine.agents.items()},
    }


def curl(machine: Machine) -> str:
    """A line that places an order, to be pasted into a shell."""
    token = token_of(machine.settings, SUBJECT)
    body = (
        '{"lines":[{"sku":"SKU-1","quantity":1,"unit_price":{"amount":4200,"currency":"USD"}}],'
        '"total":{"amount":4200,"currency":"USD"},"payment_token":"tok_visa","ship_to":{"name":'
        '"Ada Lovelace","street":"12 Market Street","city":"San Francisco","postcode":"94103",'
        '"country":"US"}}'
    )
    return (
        f"curl -s {machine.running.gateway_url}/orders -H 'Authorization: Bearer {token}' "
        f"-H 'Content-Type: application/json' -H 'Idempotency-Key: try-1' -d '{body}'"
    )
