"""`POST /orders`: from a body to an order that the broker has acknowledged, once per key.

1. Refuse what can be refused without remembering anything: body, token, quota, key, content.
2. Claim the idempotency key. Whoever else has it is answered with its answer, or asked to wait.
3. Place the order under the id that principal and key make, so that a repeat after any crash is
   the same order: what the claim does not remember, the ledger does.
4. Answer 202 only when the order is in the log, and keep the answer for a day.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from agents.adapters.http_answers import accepted
from agents.adapters.http_call import Call, call_of, respond
from agents.adapters.http_outcome import (
    PERFORM_TIMEOUT_S,
    STORE_TIMEOUT_S,
    http_record,
    name_of,
    perform,
)
from agents.adapters.http_problems import (
    IN_FLIGHT,
    INVALID,
    KEY_REUSED,
    NO_ROUTE,
    STUCK,
    Refusal,
)
from agents.adapters.http_requests import (
    body_of,
    idempotency_key_of,
    json_object,
    principal_of,
    spend,
)
from agents.adapters.http_service import GatewayService
from agents.kernel.errors import StoreUnavailable
from agents.kernel.ports import Answer, Outgoing
from agents.kernel.routing import Job, submitted
from agents.kernel.submission import Submission, order_id_of
from schemas.saga import SagaStatus

CLAIM_LEASE_MS = int((PERFORM_TIMEOUT_S + 2 * STORE_TIMEOUT_S) * 1000) + 1_000
"""Longer than an answer can take; after a crash the key is free again when it is over."""
NOT_OVER_HTTP = {
    "order_id": "the order's id follows from the Idempotency-Key header",
    "idempotency_key": "send the key as the Idempotency-Key header",
    "customer": "the customer is whom the token names",
}
"""Members of a submission that are somewhere else over HTTP."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """The idempotency key while its answer is being made."""

    key: str
    owner: str


class OrderDoor:
    """Takes orders in."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    async def place(self, request: Request) -> Response:
        """Answer `POST /orders`."""
        service = self._service
        call = call_of(request, service.ids)
        body = json_object(request, await body_of(request))
        principal = principal_of(request, service.tokens)
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await spend(call, principal, service.rate)
        key = idempotency_key_of(call, service.ids)
        submission = Submission(order_id_of(principal, key), principal, body)
        call.concern(submission.order_id)
        self._refuse_invalid(submission)
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await self._refuse_without_route()
        return await self._answer_once(call, submission, answer_key(principal, key))

    def _refuse_invalid(self, submission: Submission) -> None:
        misplaced = [
            {"pointer": f"/{name}", "detail": why}
            for name, why in NOT_OVER_HTTP.items()
            if name in submission.body
        ]
        if misplaced:
            raise Refusal(INVALID, errors=misplaced)
        try:
            self._service.intake.read_order(submission)
        except ValueError as invalid:
            errors = getattr(invalid, "errors", None)
            if not isinstance(errors, tuple):
                raise
            raise Refusal(INVALID, errors=errors) from invalid

    async def _refuse_without_route(self) -> None:
        missing = await self._service.routes()
        if missing:
            names = ", ".join(missing)
            raise Refusal(NO_ROUTE, f"No usable route is left for: {names}. {NO_ROUTE.advice}")

    async def _answer_once(self, call: Call, submission: Submission, key: str) -> Response:
        claim = _Claim(key, self._service.ids.token())
        async with asyncio.timeout(STORE_TIMEOUT_S):
            known = await self._service.answers.claim(
                claim.key, submission.body_hash, claim.owner, CLAIM_LEASE_MS
            )
        if known.outcome == "mismatch":
            raise Refusal(KEY_REUSED)
        if known.outcome == "in_flight":
            raise Refusal(IN_FLIGHT)
        answer = known.answer
        if answer is not None:
            call.headers["Idempotency-Replayed"] = "true"
        else:
            assert known.outcome == "ours", f"the answer store said {known.outcome!r}"
            answer = await self._place(call, submission, claim)
        call.headers["Location"] = f"/orders/{submission.order_id}"
        return respond(call, answer.status, answer.body)

    async def _place(self, call: Call, submission: Submission, claim: _Claim) -> Answer:
        # A cancellation passes through: then the claim ends with its lease.
        try:
            outcome = await perform(self._service, self._job(call, submission))
            answer = _answer_of(outcome, submission)
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._service.answers.answer(claim.key, claim.owner, answer)
        except Exception:
            await self._give_up(claim)
            raise
        return answer

    def _job(self, call: Call, submission: Submission) -> Job:
        handler = self._service.intake.place
        trigger = submitted(submission, call.traceparent)
        # With id and customer in it, the record alone is the same submission again.
        body = {
            **submission.body,
            "order_id": submission.order_id,
            "customer": submission.customer,
        }
        now_ms = self._service.clock.now_ms()
        record = http_record(submission.order_id, body, call.traceparent, now_ms)
        return Job(record, trigger, handler, handler.step, trigger.id)

    async def _give_up(self, claim: _Claim) -> None:
        """Free the key for the caller's next try, if the store can be reached at all."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._service.answers.give_up(claim.key, claim.owner)
        except (StoreUnavailable, TimeoutError):
            return


def answer_key(principal: str, idempotency_key: str) -> str:
    """Under which name an answer is kept: fit for any store, whatever the caller sent."""
    scoped = json.dumps([principal, idempotency_key])
    return hashlib.sha256(scoped.encode()).hexdigest()


def _answer_of(outcome: Sequence[Outgoing], submission: Submission) -> Answer:
    """The answer to an acknowledged outcome; an empty one is that of a saga long over."""
    events = {name_of(record): record for record in outcome}
    if not events or "OrderPlaced" in events:
        assert all(r.key.decode() == submission.order_id for r in outcome)
        return Answer(202, accepted(submission.order_id, SagaStatus.STARTED))
    if "OrderRejected" in events:
        # The content was found valid before: what is refused now is a second content.
        raise Refusal(KEY_REUSED)
    raise Refusal(STUCK)
