"""Writes that come while another is on its way are made together, by the next statement.

One statement for many costs the database and us a fraction of as many statements, and they share
one commit. Nobody waits for company: what finds nothing on its way is written at once, and what
comes meanwhile goes with the next. Whoever has begun a write may do something else before asking
for its result. That needs requests that share a thread (``shared.kit.waiting``); elsewhere, each
write is made by itself, when it is begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from shared.errors import DatabaseUnavailableError, InvalidInputError
from shared.kit.waiting import Signal, beside, is_shared, signal

Item = TypeVar("Item")
Result = TypeVar("Result")
# Writes items and returns a result for each, in their order; all or nothing. It calls the second
# argument when they have left this process.
Writer = Callable[[Sequence[Item], Callable[[], None]], Sequence[Result]]

_MOST_AT_ONCE = 64


class ApartError(Exception):
    """Raised by a writer that can write its items, but not together."""


class Gathering(Generic[Item, Result]):
    """Writes by a ``Writer``.

    If it fails on several for a reason that is one item's, each is written by itself: then each
    request sees its own result or error.
    """

    def __init__(self, writer: Writer[Item, Result]) -> None:
        self._writer = writer
        self._queue: deque[Write[Item, Result]] = deque()
        self._is_writing = False
        self.is_sound = True
        """Whether nothing has failed since the last statement that succeeded."""

    def begin(self, item: Item) -> Write[Item, Result]:
        """Begin to write ``item``, perhaps among others. What fails is raised by ``result``."""
        write = Write(item, self._writer)
        if not is_shared():
            self._write_group([write])
            return write
        self._queue.append(write)
        if not self._is_writing:
            self._is_writing = True
            beside(self._write_queue)
        return write

    def _write_queue(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), _MOST_AT_ONCE)
                self._write_group([self._queue.popleft() for _ in range(size)])
        finally:
            self._is_writing = False

    def _write_group(self, group: Sequence[Write[Item, Result]]) -> None:
        def on_sent() -> None:
            for write in group:
                write.is_sent = True

        try:
            results = self._writer([write.item for write in group], on_sent)
            for write, result in zip(group, results, strict=True):
                write.results = (result,)
            self.is_sound = True
        except ApartError:
            pass
        except Exception as error:  # noqa: BLE001 - it belongs to those who ask for a result
            self.is_sound = False
            if len(group) == 1 or not _is_one_items(error):
                for write in group:
                    write.error = error
        except BaseException:  # the process ends, and nobody knows what was written
            self.is_sound = False
            for write in group:
                write.error = DatabaseUnavailableError()
            raise
        finally:
            for write in group:
                write.settle()


class Write(Generic[Item, Result]):
    """A write that was begun. Settled without result and error: it is to be made by itself."""

    __slots__ = ("_turn", "_writer", "error", "is_sent", "is_settled", "item", "results")

    def __init__(self, item: Item, writer: Writer[Item, Result]) -> None:
        self.item = item
        self.results: Sequence[Result] = ()
        self.error: Exception | None = None
        self.is_sent = self.is_settled = False
        self._writer = writer
        self._turn: Signal | None = None  # of who waits

    def wait(self) -> None:
        """Wait until it is settled."""
        if not self.is_settled:
            self._turn = signal()
            self._turn.wait()

    def result(self) -> Result:
        """Wait until it is written; return its result.

        Raises
        ------
        Exception
            As the writer does.
        """
        self.wait()
        if self.error is not None:
            raise self.error
        if not self.results:
            self.results = self._writer([self.item], lambda: None)
        return self.results[0]

    def settle(self) -> None:
        """Let go on who waits for it."""
        self.is_settled = True
        if self._turn is not None:
            self._turn.tell()


def _is_one_items(error: Exception) -> bool:
    """Whether the database has answered: it stands, so the others may fare better."""
    said = error.__cause__ if isinstance(error, DatabaseUnavailableError) else error
    if isinstance(said, DBAPIError):
        return not said.connection_invalidated
    return isinstance(said, InvalidInputError)
