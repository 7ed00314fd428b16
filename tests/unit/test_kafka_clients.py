"""What the clients are really configured to, where keys go, and that an end is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from agents.adapters import kafka_clients
from agents.adapters.kafka_clients import KafkaClients, stop_within
from agents.adapters.log_rules import RECORD_BYTES_MAX, murmur2, partition_of
from agents.kernel.errors import ConfigurationError

CLIENTS = KafkaClients("127.0.0.1:1", {"security_protocol": "PLAINTEXT"}, "tests")


async def test_consumer_is_configured_as_the_design_wants_when_it_is_made() -> None:
    """Read off the object that the library made, not off what we passed."""
    consumer = CLIENTS.member("payment")

    assert consumer._partition_assignment_strategy == (RangePartitionAssignor,)
    assert consumer._enable_auto_commit is False
    assert consumer._auto_offset_reset == "earliest"
    assert consumer._isolation_level == "read_committed"
    assert consumer._session_timeout_ms == 6_000
    assert consumer._heartbeat_interval_ms == 2_000
    assert consumer._rebalance_timeout_ms == 10_000
    assert consumer._request_timeout_ms > consumer._rebalance_timeout_ms
    assert consumer._max_poll_interval_ms >= 300_000
    assert consumer._max_partition_fetch_bytes >= RECORD_BYTES_MAX
    assert consumer._group_id == "payment"
    assert consumer._client._client_id == "tests"
    await consumer.stop()


async def test_reader_belongs_to_no_group_when_it_is_made() -> None:
    """A tool that reads must not take partitions from a worker."""
    reader = CLIENTS.reader()

    assert reader._group_id is None
    assert reader._enable_auto_commit is False
    await reader.stop()


async def test_producer_waits_for_all_replicas_when_it_is_made() -> None:
    """acks=all without idempotence, no lingering, and a batch that expires with its publish."""
    producer = CLIENTS.producer()

    assert producer._sender._acks == -1
    assert producer._txn_manager is None
    assert producer._message_accumulator._linger_time == 0
    assert producer._message_accumulator._batch_ttl == kafka_clients.PUBLISH_WITHIN_S
    assert producer._max_request_size > RECORD_BYTES_MAX
    assert producer._compression_type is None
    assert producer._partitioner(b"abc", [0, 1, 2], []) == partition_of(b"abc", 3)
    await producer.stop()


def test_security_option_is_refused_when_nobody_reads_it() -> None:
    """A typing error must not end in a connection without a password."""
    with pytest.raises(ConfigurationError, match="sasl_plain_user'"):
        KafkaClients("127.0.0.1:1", {"sasl_plain_user": "chorale"})


def test_secrets_stay_hidden_when_the_clients_are_printed() -> None:
    """A log line about the clients shows no password."""
    assert "secret" not in repr(KafkaClients("b:1", {"sasl_plain_password": "secret"}))


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_key_hashes_as_in_java_when_it_is_known(key: bytes, signed: int) -> None:
    """The values of Kafka's own test of its hash."""
    assert murmur2(key) == signed & 0xFFFFFFFF
    assert partition_of(key, 7) == (signed & 0x7FFFFFFF) % 7


async def test_stop_returns_in_time_when_the_client_hangs() -> None:
    """A frozen broker must not hold a shutdown up, nor may the tasks go on."""
    client = _Hanging()

    async with asyncio.timeout(5):
        await stop_within(client, 0.01)

    assert client.ended == ["reset_generation", "fetcher", "client"]


class _Hanging:
    """A consumer whose stop never returns, and whose parts write down that they were ended."""

    group_id = "payment"

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._coordinator = self
        self._fetcher = _Part("fetcher", self.ended)
        self._client: Any = _Part("client", self.ended)

    async def stop(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not asyncio.current_task().cancelling() > 1:  # type: ignore[union-attr]
                    continue  # the library swallows a cancellation in places
                raise

    def reset_generation(self) -> None:
        self.ended.append("reset_generation")


class _Part:
    def __init__(self, name: str, ended: list[str]) -> None:
        self._name = name
        self._ended = ended

    async def close(self) -> None:
        self._ended.append(self._name)
