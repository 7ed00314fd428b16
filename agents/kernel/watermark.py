"""How far a partition may be committed: up to the lowest offset that is still in work.

1. `fetched` notes an offset, `settled` takes it out, in any order.
2. `committable` is the next offset to read: the lowest unsettled one, or one past the last
   fetched. Offsets need not be dense, since compaction and transaction markers leave gaps.
3. A `Watermarks` lives as long as one assignment. A new assignment gets a new one, so a late
   settle finds nothing here and counts for nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

Place = tuple[str, int]
"""Topic and partition."""


class Watermark:
    """The unsettled offsets of one partition."""

    def __init__(self) -> None:
        self._unsettled: set[int] = set()
        # The same offsets as a heap; settled ones leave it when they come to the top.
        self._order: list[int] = []
        self._end: int | None = None

    def __len__(self) -> int:
        """How many offsets are unsettled."""
        return len(self._unsettled)

    def fetched(self, offset: int) -> None:
        """The offset is in work now."""
        # A log that lost its tail goes back and gives offsets out anew. Its end is what was
        # fetched last, not the highest ever: a commit above it would skip records to come.
        self._end = offset + 1
        if offset not in self._unsettled:
            self._unsettled.add(offset)
            heapq.heappush(self._order, offset)

    def settled(self, offset: int) -> None:
        """The offset needs nothing more; ignored if it is not in work."""
        self._unsettled.discard(offset)

    def committable(self) -> int | None:
        """The next offset to read if everything started anew; None if nothing was fetched."""
        if self._end is None:
            return None
        while self._order and self._order[0] not in self._unsettled:
            heapq.heappop(self._order)
        return min(self._order[0], self._end) if self._order else self._end


class Watermarks:
    """The watermarks of all partitions of one assignment."""

    def __init__(self) -> None:
        self._places: dict[Place, Watermark] = {}
        self._committed: dict[Place, int] = {}

    @property
    def unsettled(self) -> int:
        """Records in work."""
        return sum(map(len, self._places.values()))

    def fetched(self, place: Place, offset: int) -> None:
        """The record there is in work now."""
        self._places.setdefault(place, Watermark()).fetched(offset)

    def settled(self, place: Place, offset: int) -> None:
        """The record there needs nothing more; ignored if it is not in work."""
        watermark = self._places.get(place)
        if watermark is not None:
            watermark.settled(offset)

    def advance(self) -> dict[Place, int]:
        """What may be committed and differs from the last successful commit."""
        offsets: dict[Place, int] = {}
        for place, watermark in self._places.items():
            offset = watermark.committable()
            if offset is not None and offset != self._committed.get(place):
                offsets[place] = offset
        return offsets

    def committed(self, offsets: Mapping[Place, int]) -> None:
        """Those offsets are committed; `advance` will not name them again."""
        self._committed.update(offsets)
