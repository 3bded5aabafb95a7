"""Run something many times at once, starting together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(n: int, call: Callable[[int], T]) -> list[T]:
    """Return ``[call(0), ..., call(n - 1)]``, called by ``n`` threads behind one barrier."""
    barrier = threading.Barrier(n)

    def run(index: int) -> T:
        barrier.wait(20)
        try:
            return call(index)
        finally:
            _close_loop()

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


def _close_loop() -> None:
    # Lambda handlers make one event loop per thread; these threads end before the process does.
    try:
        asyncio.get_event_loop().close()
    except RuntimeError:
        return
    asyncio.set_event_loop(None)
