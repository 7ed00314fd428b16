"""The one place that makes Kafka clients, with every option set, and that ends them in time.

1. No default of the library counts: its own would commit by themselves, start at the end of a
   topic, wait for one replica only, and put one order's topics on two workers.
2. `stop_within` never waits longer than it says. What a cut-off stop leaves behind is ended,
   else a half-closed member would go on heartbeating for partitions that nobody reads.
3. `unavailable` says which address failed, how, and what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from agents.adapters.kafka_patience import be_patient
from agents.adapters.kafka_records import read_any_header
from agents.adapters.log_rules import RECORD_BYTES_MAX, partition_of
from agents.kernel.errors import ConfigurationError, LogUnavailable

SESSION_MS = 6_000
"""A dead worker's partitions move after this long; the least that brokers allow by default."""
HEARTBEATS_A_SESSION = 3
"""Two may be lost."""
REBALANCE_MS = 10_000
"""How long the group waits for a member to join again; it learns so by its next heartbeat."""
POLL_INTERVAL_MS = 600_000
"""Ten minutes: membership is judged by heartbeats, and the fetch loop polls every second."""
REQUEST_MS = 20_000
"""One request. Joining waits for the slowest member, so this exceeds REBALANCE_MS."""
PUBLISH_WITHIN_S = 10.0
"""A publish; a broker that is there answers within milliseconds, a new leader within seconds."""
BATCH_BYTES = 262_144
"""A batch of one partition: some two hundred events, well below the broker's limit."""
REQUEST_BYTES_MAX = 1_048_576
"""One record with its framing; above RECORD_BYTES_MAX, so that our own check speaks first."""
PARTITION_FETCH_BYTES = 1_048_576
"""Of one partition in one answer; a larger single record still comes, alone."""
FETCH_BYTES = 16_777_216
"""Of all partitions in one answer: some ten thousand events, which bounds the memory."""
CLOSE_WITHIN_S = 5.0
"""An orderly end takes milliseconds; a frozen broker must not hold a shutdown up."""

ConnectionFailed = (KafkaError, OSError, TimeoutError)
"""What the library raises when a broker is away, slow or refuses."""

_SECURITY = frozenset(
    {
        "security_protocol",
        "ssl_context",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_kerberos_service_name",
        "sasl_kerberos_domain_name",
        "sasl_oauth_token_provider",
    }
)
_CUT_OFF_S = 1.0


@dataclass(frozen=True, slots=True)
class KafkaClients:
    """Makes every consumer, producer and admin client of one cluster."""

    bootstrap: str
    """`host:port`, several divided by commas."""
    security: Mapping[str, Any] | None = field(default=None, repr=False)
    """`security_protocol`, `ssl_context` and the `sasl_…` options of aiokafka."""
    client_id: str = "chorale"
    session_ms: int = SESSION_MS
    instance: str = ""
    """Static membership (KIP-345): a restart under this name takes its partitions back at once."""

    def __post_init__(self) -> None:
        """Refuse a security option that nobody reads."""
        unknown = sorted(set(self.security or {}) - _SECURITY)
        if unknown:
            raise ConfigurationError(
                f"Kafka security option {unknown[0]!r} is unknown; known are "
                f"{', '.join(sorted(_SECURITY))}"
            )

    def member(self, group: str) -> AIOKafkaConsumer:
        """A consumer that will join a group."""
        return self._consumer(group)

    def reader(self) -> AIOKafkaConsumer:
        """A consumer without a group, for tools; it commits nothing and disturbs nobody."""
        return self._consumer(None)

    def producer(self) -> AIOKafkaProducer:
        """A producer that waits for all in-sync replicas.

        Not idempotent: such a producer never gives a batch up while the broker is away, and
        hangs with it. The duplicates of a plain one are absorbed by the ledger, as all others.
        """
        return AIOKafkaProducer(
            **self._common(),
            acks="all",
            enable_idempotence=False,
            transactional_id=None,
            linger_ms=0,
            compression_type=None,
            partitioner=_by_key,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES_MAX,
            # Also how long a batch is kept for a broker that is away: as long as the publish
            # that waits for it, so that repeats of a publish do not pile up.
            request_timeout_ms=int(PUBLISH_WITHIN_S * 1000),
        )

    def admin(self) -> AIOKafkaAdminClient:
        """An admin client."""
        return AIOKafkaAdminClient(**self._common(), request_timeout_ms=REQUEST_MS)

    def unavailable(self, doing: str, error: BaseException | str) -> LogUnavailable:
        """What to raise when the broker failed us."""
        said = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            said = "no answer in time"
        return LogUnavailable(
            f"{doing} failed at the broker {self.bootstrap}: {said}; "
            "check that it runs and that CHORALE_BOOTSTRAP names it"
        )

    def _consumer(self, group: str | None) -> AIOKafkaConsumer:
        read_any_header()
        consumer = AIOKafkaConsumer(
            **self._common(),
            group_id=group,
            group_instance_id=f"{group}.{self.instance}" if group and self.instance else None,
            # Range puts one partition number of all topics on one member: an order on one worker.
            partition_assignment_strategy=(RangePartitionAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # What an outsider's transaction took back was never ordered.
            isolation_level="read_committed",
            session_timeout_ms=self.session_ms,
            heartbeat_interval_ms=self.session_ms // HEARTBEATS_A_SESSION,
            rebalance_timeout_ms=max(REBALANCE_MS, self.session_ms),
            max_poll_interval_ms=POLL_INTERVAL_MS,
            request_timeout_ms=REQUEST_MS,
            fetch_min_bytes=1,
            fetch_max_wait_ms=500,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            max_poll_records=None,
            check_crcs=True,
            exclude_internal_topics=True,
        )
        be_patient(consumer)
        return consumer

    def _common(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "metadata_max_age_ms": 60_000,
            "retry_backoff_ms": 100,
            "connections_max_idle_ms": 540_000,
            **(self.security or {}),
        }


async def stop_within(
    client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient,
    seconds: float = CLOSE_WITHIN_S,
) -> None:
    """End a client; never raises what the broker does, never waits longer."""
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    if not await _ended(stop, seconds):
        for end in _left_behind(client):
            await _ended(end, _CUT_OFF_S)


async def _ended(end: Callable[[], Awaitable[None]], seconds: float) -> bool:
    # In a task of its own: the library swallows a cancellation in places, and a time limit
    # around it would then not hold.
    ending = asyncio.ensure_future(end())
    try:
        await asyncio.wait({ending}, timeout=seconds)
        return ending.done()
    finally:
        ending.cancel()
        ending.add_done_callback(_heard)


def _heard(ending: asyncio.Future[None]) -> None:
    # Its failure is of no use to anybody, but asyncio would complain if nobody looked.
    if not ending.cancelled():
        ending.exception()


def _left_behind(client: Any) -> list[Any]:
    """What ends the tasks and sockets that a cut-off stop has left; there is no public way."""
    if isinstance(client, AIOKafkaAdminClient):
        return [client._client.close]  # noqa: SLF001
    if isinstance(client, AIOKafkaProducer):
        return [client._sender.close, client.client.close]  # noqa: SLF001
    ends = [client._client.close]  # noqa: SLF001
    if client._fetcher is not None:  # noqa: SLF001
        ends.insert(0, client._fetcher.close)  # noqa: SLF001
    if getattr(client._coordinator, "group_id", None) is not None:  # noqa: SLF001
        # Without a member id the heartbeats end by themselves.
        client._coordinator.reset_generation()  # noqa: SLF001
    return ends


def _by_key(key: bytes, partitions: list[int], available: list[int]) -> int:
    del available  # an order's partition does not depend on which leaders are up
    return partition_of(key, len(partitions))


assert RECORD_BYTES_MAX < REQUEST_BYTES_MAX
