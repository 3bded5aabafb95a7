"""The journal's lines and what a crash may leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.replay.journal import (
    Batch,
    Decided,
    Journal,
    JournalError,
    MalformedRecordError,
    Opened,
    Record,
    decode,
    encode,
    read_records,
)

from .records import make_decided, make_judged, make_refused

RECORDS: list[Record] = [
    Opened("run", 7, "0" * 64),
    Batch(0, 10),
    make_decided(0),
    make_judged(make_decided(0)),
    make_refused(1),
]


def write(path: Path, tail: bytes = b"") -> int:
    content = b"".join(map(encode, RECORDS))
    path.write_bytes(content + tail)
    return len(content)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)
def test_a_record_reads_back_as_it_was(record: Record) -> None:
    line = encode(record)
    assert decode(line) == record
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"kind":"decided"}\n',
        b'{"kind":"other"}\n',
        b"\0\n",
        b'{"kind":\n',
        encode(make_decided()).rstrip(),
    ],
)
def test_anything_else_is_not_a_record(line: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        decode(line)


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "journal.jsonl"
    whole = write(path, encode(make_decided(2))[:-lost])
    journal = Journal(path)
    assert journal.records == RECORDS
    assert path.stat().st_size == whole


def test_zeros_left_by_a_power_loss_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = write(path, bytes(4096))
    assert Journal(path).records == RECORDS
    assert path.stat().st_size == whole


def test_reading_tolerates_a_torn_line_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = write(path, b'{"kind":"dec')
    assert read_records(path) == RECORDS
    assert path.stat().st_size == whole + 12


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(RECORDS[0]) + b"damage\n" + encode(RECORDS[1]))
    with pytest.raises(JournalError, match="line 2"):
        Journal(path)


def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(JournalError, match="another replay"):
        Journal(tmp_path / "journal.jsonl")
    assert first.records == []


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "replay" / "journal.jsonl"
    assert Journal(path).records == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_field_order_in_a_line_does_not_matter() -> None:
    record = make_decided(3)
    assert isinstance(record, Decided)
    pairs = list(reversed(encode(record).decode().strip("{}\n").split(',"')))
    pairs = [part if part.startswith('"') else f'"{part}' for part in pairs]
    assert decode(("{" + ",".join(pairs) + "}\n").encode()) == record
