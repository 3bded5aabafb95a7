"""Writes that come while another is on its way are made together, by the next statement.

One statement for many costs the database and us a fraction of as many statements, and they share
one commit. Nobody waits for company: who finds nothing on its way writes at once, and who comes
meanwhile goes with the next. That needs requests that share a thread (``shared.kit.waiting``);
elsewhere, each write is made by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from shared.errors import DatabaseUnavailableError, InvalidInputError
from shared.kit.waiting import Signal, is_shared, signal

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_AT_ONCE = 64


class Gathering(Generic[Item, Result]):
    """``write`` takes items and returns a result for each, in their order; all or nothing.

    If it fails on several for a reason that is one item's, each is written by itself: then each
    request sees its own result or error.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._write = write
        self._queue: deque[_Place[Item, Result]] = deque()
        self._is_writing = False

    def write(self, item: Item) -> Result:
        """Write ``item``, perhaps among others; return its result.

        Raises
        ------
        Exception
            As the writer does.
        """
        if not is_shared():
            return self._alone(item)
        place: _Place[Item, Result] = _Place(item)
        self._queue.append(place)
        if self._is_writing:
            place.turn = signal()
            self._wait_at(place, place.turn)
        if not place.is_settled:
            self._lead()
        if place.error is not None:
            raise place.error
        if not place.results:
            return self._alone(item)
        return place.results[0]

    def _alone(self, item: Item) -> Result:
        (result,) = self._write([item])
        return result

    def _wait_at(self, place: _Place[Item, Result], turn: Signal) -> None:
        """Wait until it is settled, or first in the queue with nobody writing."""
        try:
            turn.wait()
        except BaseException:
            if place in self._queue:
                is_first = self._queue[0] is place
                self._queue.remove(place)
                if is_first and place.leads:
                    self._pass_on()
            raise

    def _lead(self) -> None:
        """Write what is queued, and let the next one write what came meanwhile."""
        self._is_writing = True
        group = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_AT_ONCE))]
        try:
            for place, result in zip(group, self._write([p.item for p in group]), strict=True):
                place.results = [result]
        except (DBAPIError, InvalidInputError, DatabaseUnavailableError) as error:
            if len(group) == 1 or not _is_one_items(error):
                for place in group:
                    place.error = error
        except BaseException:  # this request's alone; the others know only that nothing is known
            for place in group:
                place.error = DatabaseUnavailableError()
            raise
        finally:
            for place in group:
                place.is_settled = True
                place.go_on()
            self._pass_on()

    def _pass_on(self) -> None:
        self._is_writing = bool(self._queue)
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].go_on()


def _is_one_items(error: Exception) -> bool:
    """Whether the database has answered: it stands, so the others may fare better."""
    said = error.__cause__ if isinstance(error, DatabaseUnavailableError) else error
    if isinstance(said, DBAPIError):
        return not said.connection_invalidated
    return isinstance(said, InvalidInputError)


class _Place(Generic[Item, Result]):
    """One item's place. Settled without result and error: it is to be written by itself."""

    __slots__ = ("error", "is_settled", "item", "leads", "results", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.turn: Signal | None = None  # of those that wait
        self.results: list[Result] = []
        self.error: Exception | None = None
        self.is_settled = self.leads = False

    def go_on(self) -> None:
        """Let its request go on, if it waits."""
        if self.turn is not None:
            self.turn.tell()
