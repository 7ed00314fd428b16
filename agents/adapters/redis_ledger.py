"""The step ledger in Redis or Valkey: one script call for a whole batch of orders.

1. The script (`ledger_*.lua`) is the protocol of `agents.kernel.protocol`, function by function;
   its time is the server's.
2. Every call compares the store's epoch first. A flushed, exchanged or empty store answers
   StoreDoubtful and changes nothing, until its data is back.
3. Every request is safe to send twice, so a lost reply costs nothing but a second call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, assert_never

from agents.adapters.redis_client import RedisClient, Script, StoreEpoch
from agents.kernel.errors import ConfigurationError
from agents.kernel.protocol import (
    NOTHING,
    Begin,
    Compact,
    Finish,
    Read,
    Reply,
    Request,
    State,
    StepRecord,
    Touch,
    Verdict,
)

BATCH_MAX = 256
"""Requests of one script call: the server serves nobody else meanwhile, for about 5 ms."""

_SCRIPT = Script.load("ledger_records.lua", "ledger_begin.lua", "ledger.lua")
_STATES = {state.value: state for state in State}
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_SENT = -1
"""Blob of a reply: the one that came with the request."""


class RedisLedger:
    """The ledger of `agents.kernel.ports`, in one Redis or Valkey primary."""

    def __init__(
        self, client: RedisClient, prefix: str = "chorale:", *, require_aof: bool = False
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._require_aof = require_aof
        self.guard = StoreEpoch(client, prefix)

    @property
    def epoch(self) -> int:
        """The store's birth in milliseconds, as this process knows it; 0 for none."""
        return self.guard.known

    async def open(self) -> int:
        """Judge the server, load the script, adopt and return the store's epoch.

        An epoch of 0, or another one than before, means that the store must be rebuilt from the
        log and then marked with `create_epoch`. Raises ConfigurationError or StoreUnavailable.
        """
        memory = await self._client.command("INFO", "memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise ConfigurationError(
                f"the store at {self._client.address} has maxmemory-policy {policy} and would "
                "forget steps under pressure; set maxmemory-policy noeviction"
            )
        persistence = await self._client.command("INFO", "persistence")
        if self._require_aof and not persistence.get("aof_enabled"):
            raise ConfigurationError(
                f"the store at {self._client.address} keeps no append-only file and would forget "
                "every step in a crash; set appendonly yes"
            )
        await self._client.command("SCRIPT LOAD", _SCRIPT.source)
        return await self.guard.read()

    async def create_epoch(self) -> int:
        """Mark the store as complete; returns the epoch in force."""
        return await self.guard.create()

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        """See `agents.kernel.ports.Ledger`."""
        replies: list[Reply] = []
        for start in range(0, len(requests), BATCH_MAX):
            replies += await self._send(requests[start : start + BATCH_MAX])
        return replies

    async def _send(self, requests: Sequence[Request]) -> list[Reply]:
        blobs = bytearray()
        written = [_write(request, blobs) for request in requests]
        batch = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
        epoch = self.guard.known
        arguments = (epoch, self._time_override(), f"{self._prefix}saga:", batch, bytes(blobs))
        answer = await self._client.run(_SCRIPT, [self.guard.key], arguments)
        if answer[0] != b"ok":
            raise self.guard.doubt(answer[1])
        found = json.loads(answer[1])
        assert len(found) == len(requests)
        return [
            _read(request, reply, answer, epoch)
            for request, reply in zip(requests, found, strict=True)
        ]

    def _time_override(self) -> str:
        """Empty: the script asks the server. Only the differential test says otherwise."""
        return ""


def _write(request: Request, blobs: bytearray) -> Sequence[Any]:
    order = request.order_id
    match request:
        case Begin():
            return (
                "begin",
                order,
                request.step,
                request.role,
                request.owner,
                request.lease_ms,
                request.trigger,
                request.trigger_type,
                request.group,
                request.letter_attempt,
                request.letter_direction,
                request.letter_known,
            )
        case Finish():
            start = len(blobs)
            blobs += request.blob.encode()
            return (
                "finish",
                order,
                request.step,
                request.owner,
                request.fence,
                request.state,
                request.outcome,
                request.open,
                request.direction,
                request.unclaimed,
                request.epoch,
                start,
                len(blobs) - start,
            )
        case Touch():
            return (
                "touch",
                order,
                request.step,
                request.owner,
                request.fence,
                request.lease_ms,
                request.tries,
                request.doubt,
                request.progress,
            )
        case Read():
            return ("read", order)
        case Compact():
            return ("compact", order, request.fences, request.ttl_ms)
        case _:
            assert_never(request)


def _read(request: Request, reply: Sequence[Any], answer: Sequence[bytes], epoch: int) -> Reply:
    verdict = _VERDICTS[reply[0]]
    match request:
        case Read():
            steps = {name: _record(raw, blob, "", answer) for name, raw, blob in reply[1]}
            return Reply(verdict, NOTHING, epoch, tuple(sorted(steps.items())))
        case Finish():
            return Reply(verdict, _record(reply[1], reply[2], request.blob, answer), epoch)
        case Compact():
            return Reply(verdict, NOTHING, epoch)
        case _:
            return Reply(verdict, _record(reply[1], reply[2], "", answer), epoch)


def _record(raw: list[Any], blob: int, sent: str, answer: Sequence[bytes]) -> StepRecord:
    state, owner, lease, fence, tries, attempt, key, undo_key = raw[:8]
    doubt, direction, trigger, outcome, is_open, progress, _ = raw[8:]
    return StepRecord(
        _STATES[state],
        owner,
        lease,
        fence,
        tries,
        attempt,
        key,
        undo_key,
        doubt,
        direction,
        trigger,
        outcome,
        is_open,
        sent if blob == _SENT else answer[blob + 1].decode() if blob else "",
        progress,
    )
