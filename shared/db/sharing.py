"""The pool as requests use it that share a thread (``shared.kit.waiting``).

They have half of its connections, one each at a time, and nobody waits in their thread for one to
come free or to be made. Where each request has a thread, the pool is used as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from shared.kit.waiting import Seats, elsewhere, is_shared

Taken = TypeVar("Taken")

# How long connections may be kept from the pool, which looks after their age, and how long one of
# them may be idle.
_KEPT_S, _IDLE_S = 60.0, 1.0


def seated(engine: sa.Engine) -> AbstractContextManager[None]:
    """Wait for a turn at the database, and have it until the end of the block."""
    return _share_of(engine).seats if is_shared() else nullcontext()


def taken(take: Callable[[], Taken], engine: sa.Engine) -> Taken:
    """Return what ``take`` takes from the engine's pool. Where that must wait for a connection, or
    make one, it would hold up everybody who shares this thread, those included who would give one
    back: the first connection is made under a lock of SQLAlchemy's.
    """
    if is_shared():
        share = _share_of(engine)
        share.put_back_one()
        if not share.pool.checkedin():
            return elsewhere(take)
    return take()


def lent(engine: sa.Engine) -> sa.PoolProxiedConnection:
    """Return a connection for a single call; ``give_back`` it.

    Raises
    ------
    sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError
        If there is none to be had.
    """
    kept = _share_of(engine).find() if is_shared() else None
    return taken(engine.raw_connection, engine) if kept is None else kept


def give_back(engine: sa.Engine, pooled: sa.PoolProxiedConnection) -> None:
    """Keep a connection for the next call, or put it back into the pool."""
    if not (is_shared() and pooled.is_valid and _share_of(engine).keep(pooled)):
        pooled.close()


class _Share:
    """Seats at the database, and connections that stay out of the pool between calls, as the
    pool's work for a connection costs as much as the call.

    Fewer are kept than there are seats: threads find their half of the pool, and one more for what
    is read in between. Who needs one for longer puts a kept one back first (``taken``).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.pool = cast("sa.QueuePool", engine.pool)
        half = self.pool.size() // 2
        self.seats = Seats(max(1, half))
        self._most = max(0, half - 1)
        self._kept: list[sa.PoolProxiedConnection] = []
        self._keeps_since = 0.0
        sa.event.listen(engine, "engine_disposed", self._drop)

    def find(self) -> sa.PoolProxiedConnection | None:
        """Return a kept connection that works, if there is one."""
        now = time.monotonic()
        if now - self._keeps_since > _KEPT_S:
            self._keeps_since = now
            while self._kept:
                self.put_back_one()
        while self._kept:
            pooled = self._kept.pop()
            driver: Any = pooled.driver_connection
            if driver.is_fresh(_IDLE_S):
                return pooled
            pooled.close()
        return None

    def keep(self, pooled: sa.PoolProxiedConnection) -> bool:
        """Keep a connection; return False where enough are kept."""
        has_room = len(self._kept) < self._most
        if has_room:
            self._kept.append(pooled)
        return has_room

    def put_back_one(self) -> None:
        """Put a kept connection back into the pool, if there is one."""
        if self._kept:
            self._kept.pop().close()

    def _drop(self, _engine: sa.Engine) -> None:
        while self._kept:
            self._kept.pop().invalidate()


@lru_cache(maxsize=1)
def _share_of(engine: sa.Engine) -> _Share:
    return _Share(engine)
