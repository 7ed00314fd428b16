"""Reads what any Kafka client may write, where aiokafka 0.14 would stop for ever.

Kafka does not check that a header's name is UTF-8, and clients in C let any bytes pass. aiokafka
then fails on each fetch of that batch and never gets past it: one such record in `orders.inbox`
would block a partition for good. Here a batch that cannot be decoded is read once more with the
bad bytes of the name replaced, as Kafka's Java client does it; all else stays as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def read_any_header() -> None:
    """Make every consumer of this process read such batches; calling it again changes nothing."""
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc] # the library has no types
    """Cuts an answer into batches; their records are still decoded by the library's C code."""

    def next_batch(self) -> Any:
        cut = self._next_slice
        batch = super().next_batch()
        return _Batch(batch, cut) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """The library's batch in all but its iteration."""

    def __init__(self, batch: Any, cut: memoryview) -> None:
        self._batch = batch
        self._cut = cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            again = iter(_DefaultRecordBatchPy(self._cut))
            again._buffer = _Bytes(again._buffer)  # noqa: SLF001 - unpacked by iter()
            return iter(list(again))


class _Bytes(bytearray):
    """Bytes whose parts become text whatever they are; only header names are made text."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
