"""THE file: what happens to one record, from decoding to settled.

    decode -> begin -> handle -> finish -> publish -> settle

1. A record that concerns nobody here is settled at once; one that nobody can read becomes a
   dead letter, and the partition moves on.
2. `begin` asks the ledger for the step. Its answer decides: ours, busy (look again after the
   lease), done (publish the stored outcome again), dead (the letter again), too late, stale.
3. The handler returns events; faults are retried within the budget (`work.py`).
4. `finish` stores the outcome by compare-and-set. Losing it means that another worker has the
   step: begin again and see.
5. The outcome is published; only then is the record settled, and so committed.

The records of one order are handled one after the other, in a *lane*; lanes run side by side.
Store or broker away: every call is repeated until it is back; all of them are safe to send twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from agents.kernel.agent import Agent
from agents.kernel.codec import name_of, unpack
from agents.kernel.consumer import Consumer, ConsumerParts
from agents.kernel.dead_letter import poison_letter, record_of
from agents.kernel.errors import LeaseLost, PoisonRecord
from agents.kernel.parts import Parts
from agents.kernel.persistence import Persistence
from agents.kernel.ports import Outgoing, Record
from agents.kernel.protocol import Begin, Reply, Role, Verdict
from agents.kernel.routing import Decided, Job, Router
from agents.kernel.telemetry import Processed
from agents.kernel.work import LONGER_LEASE, Worker

BUSY_LOOK_AGAIN_S = 0.05
"""Added to a foreign lease's end, so that the store's clock has passed it too."""
BUG_WAITS_S = (0.5, 2.0, 8.0)
"""A bug that passes by itself (a library's bad moment) passes within seconds."""


class Pipeline:
    """One agent, consuming its topics."""

    def __init__(self, agent: Agent, topics: Sequence[str], parts: Parts) -> None:
        self._agent = agent
        self._parts = parts
        self._router = Router(agent, parts.topics)
        self._persistence = Persistence(parts)
        self._worker = Worker(agent, parts, self._persistence)
        self.consumer = Consumer(
            agent.name,
            topics,
            ConsumerParts(parts.log, parts.clock, parts.settings, parts.health),
        )
        self._lanes: dict[str, deque[Record]] = {}
        self._generation = -1
        self._driving: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until `stop`: consume. A bug in the kernel ends it; the supervisor starts it anew."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.consumer.run(self._dispatch)
            # What did not end within the drain is cut off; its leases end by themselves.
            for task in list(self._driving):
                task.cancel()

    def stop(self) -> None:
        """Stop fetching; `run` returns after the drain."""
        self.consumer.stop()

    @property
    def waiting(self) -> int:
        """Records held in lanes, those in hand included."""
        return sum(map(len, self._lanes.values()))

    def _dispatch(self, records: list[Record]) -> None:
        assert self._tasks is not None
        if records[0].generation != self._generation:
            self._generation = records[0].generation
            self._forget_waiting()
        for record in records:
            lane = self._router.lane_of(record)
            if lane is None:
                self.consumer.settle(record)
            elif lane in self._lanes:
                self._lanes[lane].append(record)
            else:
                self._lanes[lane] = deque((record,))
                name = f"lane {self._agent.name} {lane}"
                task = self._tasks.create_task(self._drive(lane), name=name)
                self._driving.add(task)
                task.add_done_callback(self._driving.discard)

    def _forget_waiting(self) -> None:
        """What an old assignment left waiting was not committed, and comes again."""
        for waiting in self._lanes.values():
            in_hand = waiting[0]
            waiting.clear()
            waiting.append(in_hand)

    async def _drive(self, lane: str) -> None:
        """One order's records, one after the other."""
        waiting = self._lanes[lane]
        try:
            while waiting:
                record = waiting[0]
                # A record of an assignment that is over was not committed: it comes again.
                if record.generation == self.consumer.generation:
                    await self.process(record)
                    self.consumer.settle(record)
                waiting.popleft()
        finally:
            del self._lanes[lane]

    async def process(self, record: Record) -> None:
        """Do all that a record asks for; returns when its outcome is in the log.

        A bug of ours that gets this far would meet the same record after every restart: it
        becomes a letter, so that the partition moves on and a person looks.
        """
        try:
            await self._process(record)
        except Exception as bug:  # noqa: BLE001 - see above; cancellation is no Exception
            await self._bury(record, bug)

    async def _process(self, record: Record) -> None:
        try:
            job = self._router.job_of(record)
        except PoisonRecord as error:
            await self._bury(record, error)
            return
        if isinstance(job, Decided):
            await self._read_again(job)
        elif job is not None:
            started_s = self._parts.clock.monotonic_s()
            published = await self._carry_out_in_spite_of_bugs(job)
            self._tell(job, published, started_s)

    def _tell(self, job: Job, published: list[Outgoing], started_s: float) -> None:
        trigger = job.trigger
        fact = Processed(
            agent=self._agent.name,
            event=trigger.type,
            step=job.step,
            outcome=",".join(name_of(record) for record in published),
            order_id=trigger.order_id,
            duration_s=self._parts.clock.monotonic_s() - started_s,
            traceparent=trigger.traceparent,
        )
        self._parts.telemetry.processed(fact)

    async def perform(self, job: Job) -> list[Outgoing]:
        """Do a job that came over HTTP; returns its outcome once the broker has it."""
        return await self._carry_out(job)

    async def _carry_out_in_spite_of_bugs(self, job: Job) -> list[Outgoing]:
        """A bug outside of the handler: try again, then a letter that says what it is about."""
        for wait_s in BUG_WAITS_S:
            try:
                return await self._carry_out(job)
            except Exception as bug:  # noqa: BLE001 - the last one becomes the letter
                error = bug
                await self._parts.clock.sleep(wait_s)
        return await self._publish([self._worker.letter_of_bug(job, error)])

    async def _carry_out(self, job: Job) -> list[Outgoing]:
        while True:
            begin = self._begin(job)
            reply = await self._persistence.apply(begin)
            match reply.verdict:
                case Verdict.BUSY:
                    await self._park(reply)
                case Verdict.OURS | Verdict.BEGUN:
                    try:
                        return await self._handle(job, begin, reply)
                    except LeaseLost:
                        continue
                case Verdict.REPUBLISH | Verdict.LETTER:
                    return await self._publish(unpack(reply.record.blob))
                case Verdict.CONTRADICTS:
                    return await self._contradict(job)
                case _:
                    return []

    def _begin(self, job: Job) -> Begin:
        declared = job.handler.declared
        letter = job.letter
        return Begin(
            order_id=job.trigger.order_id,
            step=job.step,
            role=Role.DECIDE if letter else declared.role,
            owner=self._parts.ids.token(),
            lease_ms=self._worker.lease_ms(job),
            trigger=job.trigger.fingerprint,
            trigger_type=job.trigger.type,
            group=declared.group,
            letter_attempt=letter.attempt if letter else 0,
            letter_direction=letter.direction if letter else "",
            letter_known=letter is not None and letter.known == "refused",
        )

    async def _handle(self, job: Job, begin: Begin, reply: Reply) -> list[Outgoing]:
        done = await self._worker.work(job, begin.owner, reply)
        if done.finish is None:
            return await self._publish(list(done.records))
        stored = await self._persistence.apply(done.finish)
        if stored.verdict is not Verdict.OK:
            raise LeaseLost
        return await self._publish(unpack(done.finish.blob))

    async def _publish(self, records: list[Outgoing]) -> list[Outgoing]:
        await self._persistence.publish(records)
        return records

    async def _park(self, reply: Reply) -> None:
        now_ms = self._parts.clock.now_ms()
        wait_s = max(reply.record.lease_until_ms - now_ms, 0) / 1000
        lease_s = self._parts.settings.lease_ms * LONGER_LEASE / 1000
        # Our clock may differ from the store's: never wait longer than one lease.
        await self._parts.clock.sleep(min(wait_s, lease_s) + BUSY_LOOK_AGAIN_S)

    async def _contradict(self, job: Job) -> list[Outgoing]:
        """The same trigger id came with another body: the first one stands."""
        refused = self._agent.contradiction(job.trigger)
        if refused is not None:
            return await self._publish([self._worker.stamp_refusal(job, refused)])
        error = PoisonRecord(
            f"{job.trigger.type} {job.trigger.id} was seen before with another body"
        )
        return await self._bury(job.record, error, reading=job.reading)

    async def _bury(self, record: Record, error: Exception, *, reading: int = 1) -> list[Outgoing]:
        """The bytes, the cause and the origin go to the dead letters; the partition moves on."""
        now_ms, topic = self._parts.clock.now_ms(), self._parts.topics.letters
        return await self._publish([poison_letter(record, error, now_ms, topic, reading=reading)])

    async def _read_again(self, decided: Decided) -> None:
        """A replayed record that nobody could read is processed as if it came now."""
        origin, reading = decided.poison.origin, decided.poison.attempt + 1
        if origin.topic not in self.consumer.topics:
            return
        record = Record(origin.topic, origin.partition, origin.offset, None, None)
        try:
            record = record_of(decided.poison, decided.edited_value)
            job = self._router.job_of(record)
        except PoisonRecord as error:
            if decided.replays:
                await self._bury(record, error, reading=reading)
            return
        if not isinstance(job, Job):
            return
        # A stop that stands in the log may not be dropped: settled by a person, it is confirmed.
        by_hand = not decided.replays
        if decided.replays or job.handler.role is Role.CONFIRM:
            await self._carry_out(replace(job, reading=reading, by_hand=by_hand, why=decided.why))
