"""Acknowledged means on disk."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from infra.local.replay.journal import Batch, Journal, JournalError, encode, read_records


def test_append_returns_only_after_the_sync(tmp_path: Path) -> None:
    synced: list[int] = []

    async def scenario() -> None:
        path = tmp_path / "journal.jsonl"
        journal = Journal(path, sync=lambda _: synced.append(path.stat().st_size))
        for first in range(3):
            await journal.append(Batch(first, 1))
            assert synced[-1] == path.stat().st_size
        await journal.close()

    asyncio.run(scenario())
    assert len(synced) == 3


def test_appends_at_the_same_time_share_a_sync(tmp_path: Path) -> None:
    syncs: list[int] = []

    async def scenario() -> None:
        journal = Journal(tmp_path / "journal.jsonl", sync=syncs.append)
        await asyncio.gather(*(journal.append(Batch(first, 1)) for first in range(50)))
        await journal.close()

    asyncio.run(scenario())
    assert read_records(tmp_path / "journal.jsonl") == [Batch(first, 1) for first in range(50)]
    assert len(syncs) <= 2


def test_a_disk_that_refuses_ends_all_writing(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario() -> None:
        journal = Journal(tmp_path / "journal.jsonl", sync=full)
        for first in range(2):
            with pytest.raises(JournalError, match="No space left"):
                await journal.append(Batch(first, 1))
        await journal.close()

    asyncio.run(scenario())
    assert read_records(tmp_path / "journal.jsonl") == [Batch(0, 1)]


def test_a_canceled_writer_leaves_a_whole_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = Journal(tmp_path / "journal.jsonl")
        writing = asyncio.create_task(journal.append(Batch(0, 1)))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing})
        await journal.append(Batch(1, 1))
        await journal.close()

    asyncio.run(scenario())
    assert read_records(tmp_path / "journal.jsonl") == [Batch(0, 1), Batch(1, 1)]


def test_the_next_start_reads_what_was_appended(tmp_path: Path) -> None:
    async def scenario() -> None:
        for first in range(3):
            journal = Journal(tmp_path / "journal.jsonl")
            assert journal.records == [Batch(past, 1) for past in range(first)]
            await journal.append(Batch(first, 1))
            await journal.close()

    asyncio.run(scenario())
    assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == 3
    assert encode(Batch(0, 1)) in (tmp_path / "journal.jsonl").read_bytes()
