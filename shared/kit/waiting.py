"""Waiting for somebody else, in the way that the host waits.

Where each request has a thread, waiting blocks it (``shared.kit.turns``). A host that serves many
requests in one thread installs its own way: what waits here lets the others go on meanwhile.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from shared.kit.turns import resting

Result = TypeVar("Result")


class Waiter(Protocol):
    """How requests that share one thread wait."""

    def is_here(self) -> bool:
        """Return whether the code that runs now belongs to such a request."""

    def until_ready(self, descriptor: int, timeout_s: float | None, *, to_write: bool) -> bool:
        """Wait for a socket; return whether it was ready in time."""

    def pause(self, seconds: float) -> None:
        """Wait."""

    def elsewhere(self, work: Callable[[], Result]) -> Result:
        """Do what may block in another thread, and return its result."""

    def signal(self) -> Signal:
        """Return a new signal between such requests."""

    def beside(self, work: Callable[[], None]) -> None:
        """Begin ``work`` now; return when it is done or waits. It raises nothing."""


class Signal(Protocol):
    """What one request waits for and another one tells, once."""

    def wait(self) -> None:
        """Wait until it was told."""

    def tell(self) -> None:
        """Let the other one go on. Telling it twice is telling it once."""


class _Host:
    waiter: Waiter | None = None


def install(waiter: Waiter) -> None:
    """Let the requests that ``waiter`` knows wait in its way, from now on in this process."""
    _Host.waiter = waiter


def is_shared() -> bool:
    """Return whether others wait for this thread, too: nothing may block it."""
    return _here() is not None


def _here() -> Waiter | None:
    waiter = _Host.waiter
    return waiter if waiter is not None and waiter.is_here() else None


def until_ready(descriptor: int, timeout_s: float | None, *, to_write: bool = False) -> bool:
    """Wait until a socket can be read (or written to); return whether it can, in time."""
    if (waiter := _here()) is not None:
        return waiter.until_ready(descriptor, timeout_s, to_write=to_write)
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if to_write else select.POLLIN)
    with resting():
        return bool(poll.poll(None if timeout_s is None else math.ceil(timeout_s * 1000)))


def pause(seconds: float) -> None:
    """Wait for so long."""
    if (waiter := _here()) is not None:
        waiter.pause(seconds)
    else:
        with resting():
            time.sleep(seconds)


def elsewhere(work: Callable[[], Result]) -> Result:
    """Return the result of ``work``, which may block."""
    waiter = _here()
    return work() if waiter is None else waiter.elsewhere(work)


def signal() -> Signal:
    """Return a new signal. Only where ``is_shared``."""
    waiter = _here()
    if waiter is None:
        raise RuntimeError("nobody here shares a thread")
    return waiter.signal()


def beside(work: Callable[[], None]) -> None:
    """Begin ``work``, which raises nothing; return when it is done or waits. Only where
    ``is_shared``.
    """
    waiter = _here()
    if waiter is None:
        raise RuntimeError("nobody here shares a thread")
    waiter.beside(work)


class Seats:
    """So many of something for requests that share a thread: who finds none free waits for one,
    first come, first served.
    """

    def __init__(self, n: int) -> None:
        self._free = n
        self._queue: deque[Signal] = deque()

    def __enter__(self) -> None:
        """Have one until the end of the block."""
        self._take()

    def __exit__(self, *_error: object) -> None:
        self._leave()

    def _take(self) -> None:
        if self._free:
            self._free -= 1
            return
        mine = signal()
        self._queue.append(mine)
        try:
            mine.wait()
        except BaseException:
            if mine in self._queue:
                self._queue.remove(mine)
            else:  # it was given one, and will not use it
                self._leave()
            raise

    def _leave(self) -> None:
        if self._queue:
            self._queue.popleft().tell()
        else:
            self._free += 1
