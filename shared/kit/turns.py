"""Turns: of many threads that wait for somebody else most of the time, few compute at once.

One interpreter computes in one thread at a time; threads that could go on but may not ask for it
every few milliseconds, each of them. So a host gives its threads turns, and whoever waits for a
provider lets another one go on meanwhile (``resting``).

A turn is kept while waiting for the database or a lock: those who have them hold turns, too, so
that they come free. Rest only where nothing is held that another thread might wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType

_own = threading.local()


class Turns:
    """``n`` turns for the threads of one host."""

    def __init__(self, n: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(n):
            self._free.put(None)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it until the end of the block."""
        self.take()
        _own.turns = self
        try:
            yield
        finally:
            _own.turns = None
            self.give_back()

    def take(self) -> None:
        self._free.get()

    def give_back(self) -> None:
        self._free.put(None)


class resting:  # noqa: N801 - reads as a word: with resting()
    """Let another thread have this one's turn, if it has one, until the end of the block."""

    __slots__ = ("_turns",)

    def __enter__(self) -> None:
        self._turns: Turns | None = getattr(_own, "turns", None)
        if self._turns is not None:
            self._turns.give_back()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._turns is not None:
            self._turns.take()
