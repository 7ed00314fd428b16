"""The ledger file: on disk before the answer, one fsync for all who wait, torn tails cut off."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agents.kernel.errors import ConfigurationError
from agents.providers.simulator.journal import INDEX_EVERY, FileJournal, NoJournal
from agents.providers.simulator.ledger import Entry, parse_line

FIRST = Entry(1, 1_000, "payment.created", "payments.create", "o-1", amount=5)


async def open_journal(path: Path) -> tuple[FileJournal, list[Entry]]:
    journal = FileJournal(path)
    return journal, list(journal.stored())


async def test_entries_are_on_disk_when_durable_returns(tmp_path: Path) -> None:
    """Nothing is on disk before, everything after, and a second opening reads it back."""
    path = tmp_path / "new" / "ledger"
    journal, _ = await open_journal(path)
    for seq in (1, 2, 3):
        journal.append(replace(FIRST, seq=seq))
    assert path.read_bytes() == b""

    await journal.durable()

    assert [parse_line(line).seq for line in path.read_bytes().splitlines()] == [1, 2, 3]
    await journal.close()
    again, stored = await open_journal(path)
    assert [entry.seq for entry in stored] == [1, 2, 3]
    await again.close()


async def test_waiters_share_an_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred answers that wait together cost a few fsyncs, not a hundred."""
    journal, _ = await open_journal(tmp_path / "ledger")
    count = 0

    def counting(descriptor: int) -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(os, "fsync", counting)

    async def answer(seq: int) -> None:
        journal.append(replace(FIRST, seq=seq))
        await journal.durable()

    await asyncio.gather(*(answer(seq) for seq in range(1, 101)))

    assert 1 <= count <= 3
    monkeypatch.undo()
    await journal.close()


async def test_cancelled_waiter_loses_nothing(tmp_path: Path) -> None:
    """A waiter that is cancelled while its batch is written leaves the books right."""
    path = tmp_path / "ledger"
    journal, _ = await open_journal(path)
    journal.append(FIRST)
    waiter = asyncio.create_task(journal.durable(), name="waiter")
    await asyncio.sleep(0)
    waiter.cancel()
    journal.append(replace(FIRST, seq=2))

    await journal.durable()

    assert [parse_line(line).seq for line in path.read_bytes().splitlines()] == [1, 2]
    await journal.close()


async def test_torn_tail_is_cut_off(tmp_path: Path) -> None:
    """A line without its end belongs to an answer that never left."""
    path = tmp_path / "ledger"
    path.write_bytes(FIRST.to_line() + b'{"seq":2,"at')

    journal, stored = await open_journal(path)
    journal.append(replace(FIRST, seq=2))
    await journal.close()

    assert stored == [FIRST]
    assert [parse_line(line).seq for line in path.read_bytes().splitlines()] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [b"nonsense\n" + FIRST.to_line(), FIRST.to_line() + replace(FIRST, seq=3).to_line()],
)
async def test_damaged_ledger_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """A broken or missing line in the middle is told with its number, and nothing is cut."""
    path = tmp_path / "ledger"
    path.write_bytes(content)
    journal = FileJournal(path)

    with pytest.raises(ConfigurationError, match=r"line [12]"):
        list(journal.stored())

    assert path.read_bytes() == content


async def test_ledger_belongs_to_one_process(tmp_path: Path) -> None:
    """A second simulator on the same file is refused, with advice."""
    journal, _ = await open_journal(tmp_path / "ledger")

    with pytest.raises(ConfigurationError, match="in use by another simulator"):
        FileJournal(tmp_path / "ledger")

    await journal.close()


async def test_failed_disk_ends_all_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync nothing is confirmed any more, also not when the disk recovers."""
    journal, _ = await open_journal(tmp_path / "ledger")
    journal.append(FIRST)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await journal.durable()
    monkeypatch.undo()

    with pytest.raises(OSError, match="cannot be written"):
        await journal.durable()
    assert "No space" in journal.failure
    await journal.close()


async def test_reader_starts_at_any_entry(tmp_path: Path) -> None:
    """Reading from entry n gives n first, wherever the remembered positions lie."""
    journal, _ = await open_journal(tmp_path / "ledger")
    last = 2 * INDEX_EVERY + 7
    for seq in range(1, last + 1):
        journal.append(replace(FIRST, seq=seq))
    await journal.durable()
    journal.append(replace(FIRST, seq=last + 1))

    for start in (0, 1, 2, INDEX_EVERY, INDEX_EVERY + 1, 2 * INDEX_EVERY, last, last + 1, 10**6):
        seen: list[int] = []
        seq = max(1, start)
        while lines := await journal.read(seq):
            seen += [parse_line(line).seq for line in lines]
            seq += len(lines)
        assert seen == list(range(max(1, start), last + 1))
    await journal.close()


async def test_reader_sees_nothing_that_is_not_on_disk_yet(tmp_path: Path) -> None:
    """Lines that are written but not yet fsynced are nobody's business."""
    path = tmp_path / "ledger"
    journal, _ = await open_journal(path)
    journal.append(FIRST)
    await journal.durable()
    with path.open("ab") as file:
        file.write(replace(FIRST, seq=2).to_line())

    lines = await journal.read(1)

    assert lines == [FIRST.to_line()]
    await journal.close()


async def test_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes only some bytes is continued, not forgotten."""
    journal, _ = await open_journal(tmp_path / "ledger")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    journal.append(FIRST)

    await journal.close()

    assert (tmp_path / "ledger").read_bytes() == FIRST.to_line()


def test_no_journal_keeps_nothing() -> None:
    """For benchmarks: entries are counted by their world and forgotten."""
    journal = NoJournal()
    journal.append(FIRST)
    assert list(journal.stored()) == []
