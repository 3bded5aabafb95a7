"""What was acknowledged, on disk before it is counted.

One JSON object a line, appended, synced to disk in small groups: while one group is being synced
the next one gathers, so six workers share a sync. A process that dies leaves at most one torn line
at the end; it was never counted and is cut off on the next start.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

VERSION = 1


class JournalError(RuntimeError):
    """The journal cannot be read or written; the message says what to do."""


class MalformedRecordError(ValueError):
    """A line is not a whole record."""


@dataclass(frozen=True, slots=True)
class Opened:
    """First line: which recordings, in which order, and the run's own id."""

    kind: ClassVar[str] = "opened"
    run_id: str
    seed: int
    traffic_sha256: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Batch:
    """A run set out to send the positions from ``first`` on, ``requests`` of them."""

    kind: ClassVar[str] = "batch"
    first: int
    requests: int


@dataclass(frozen=True, slots=True)
class Decided:
    """The system answered a request.

    ``level`` is what the system says, ``recorded_level`` what the task's mapping says. The two
    weights are those of the recorded level at that time. ``quality``, ``latency_ms`` (simulated)
    and ``utility_usd`` are None if the model that answered is not a recorded one, ``cost_usd`` and
    ``utility_usd`` if the system states no cost. ``wall_ms`` is the attempt that was answered.
    """

    kind: ClassVar[str] = "decided"
    sequence: int
    row: str
    task: str
    recorded_level: str
    decision_id: str
    model: str
    level: str
    cost_usd: float | None
    wall_ms: float
    attempts: int
    latency_ms: int | None
    quality: float | None
    quality_value_usd: float
    latency_cost_usd_per_s: float
    utility_usd: float | None
    at: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The system acknowledged the feedback on a decision."""

    kind: ClassVar[str] = "judged"
    sequence: int
    decision_id: str
    score: float
    at: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The system refused a request or a feedback for good; it is not sent again."""

    kind: ClassVar[str] = "refused"
    sequence: int
    stage: str
    status: int
    detail: str
    decision_id: str | None
    at: str


Record = Opened | Batch | Decided | Judged | Refused
_KINDS: Mapping[str, type[Record]] = {
    kind.kind: kind for kind in (Opened, Batch, Decided, Judged, Refused)
}


def encode(record: Record) -> bytes:
    """Return the line of a record."""
    line = {"kind": record.kind, **asdict(record)}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Record:
    """Read one line.

    Raises
    ------
    MalformedRecordError
        If it is torn, or no record of this journal.
    """
    if not line.endswith(b"\n"):
        raise MalformedRecordError("the line does not end")
    try:
        found = json.loads(line)
        fields: dict[str, Any] = dict(found)
        return _KINDS[fields.pop("kind")](**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedRecordError(f"not a journal record: {error!r}") from error


def read_records(path: Path) -> list[Record]:
    """Read every whole record of a journal, without touching the file."""
    return _parse(path.read_bytes(), path)[0]


class Journal:
    """An open journal: the records found, and a durable ``append``.

    Only one process may hold it; the lock goes with the process.
    """

    def __init__(self, path: Path, *, sync: Callable[[int], None] = os.fsync) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._sync = sync
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock()
            content = path.read_bytes()
            self.records, whole = _parse(content, path)
            if whole < len(content):
                os.ftruncate(self._file, whole)
            _sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._failure: JournalError | None = None

    async def append(self, record: Record) -> None:
        """Write a record; return when it is on disk.

        Raises
        ------
        JournalError
            If the disk refuses it. Nothing after it can be acknowledged then.
        """
        if self._failure is not None:
            # A half-written line may end the file: appending to it would make it unreadable.
            raise self._failure
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((encode(record), written))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        await written

    async def close(self) -> None:
        """Wait for what is being written, then let go of the file."""
        if self._flushing is not None:
            await self._flushing
        os.close(self._file)

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            if self._failure is None:
                try:
                    await asyncio.to_thread(self._write, b"".join(line for line, _ in group))
                except OSError as error:
                    self._failure = JournalError(f"cannot write {self.path}: {error}")
            self._settle(group)
        self._flushing = None

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._sync(self._file)

    def _settle(self, group: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        for _, written in group:
            if written.done():  # its writer was cancelled; the line is on disk all the same
                continue
            if self._failure is None:
                written.set_result(None)
            else:
                written.set_exception(self._failure)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"another replay is writing {self.path}; stop it first") from error


def _parse(content: bytes, path: Path) -> tuple[list[Record], int]:
    """Return the records and how many bytes of the file they fill."""
    records: list[Record] = []
    whole = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            records.append(decode(line))
        except MalformedRecordError as error:
            if number == len(lines):
                break
            message = f"{path}, line {number}: {error}; move the file away to start afresh"
            raise JournalError(message) from error
        whole += len(line)
    return records, whole


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its lines."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
