"""What every log does alike: where a key goes, how large a record may be, how long a fetch idles.

A key goes where Kafka's Java client and its tools put it, so that a record written by anybody
lands on the partition number on which the order lives in every topic.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from agents.kernel.errors import TerminalFault
from agents.kernel.ports import Outgoing

RECORD_BYTES_MAX = 1_000_000
"""Key, value and headers: Kafka's default limit of 1 048 588 for a batch, less its framing."""
FETCH_IDLE_S = 0.2
"""How long a fetch waits for a first record: a stop or a full house is noticed this quickly."""
KEYS_CACHED_MAX = 8_192
"""Hashes kept: an order's key comes again with each of its events, within seconds. 1 MB."""

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_WORD = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's default partitioner chooses it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(KEYS_CACHED_MAX)
def murmur2(data: bytes) -> int:
    """MurmurHash2 with the seed and the word order of Kafka's Java client."""
    length = len(data)
    value = _SEED ^ length
    whole = length & ~3
    for plain in struct.unpack_from(f"<{length // 4}I", data):
        word = plain * _MIX & _WORD
        word = (word ^ word >> 24) * _MIX & _WORD
        value = value * _MIX & _WORD ^ word
    if whole < length:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MIX & _WORD
    value = (value ^ value >> 13) * _MIX & _WORD
    return value ^ value >> 15


def refuse_oversized(records: Sequence[Outgoing]) -> None:
    """Raise TerminalFault for a record that no broker would take; nothing is sent then."""
    for record in records:
        size = len(record.key) + len(record.value)
        size += sum(len(name) + len(value) for name, value in record.headers)
        if size > RECORD_BYTES_MAX:
            raise TerminalFault(
                f"a record of {size} bytes for {record.topic} exceeds the limit of "
                f"{RECORD_BYTES_MAX}; shorten the order, nothing was sent"
            )
