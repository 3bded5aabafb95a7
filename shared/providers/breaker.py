"""Circuit breakers: a model that keeps failing is left alone, then tried by one request.

State is one row per model in the table ``breakers``, shared by all processes; each keeps a view of
the rows that is at most ``snapshot_ttl_s`` old, so a healthy call costs no statement. Written only
on a failure and on a recovery. A row older than its model's last change in the registry is void:
who mends a key or an address need not wait. Without a database every breaker is as last seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.config import get_settings
from shared.db.engine import get_engine, single_statement, transaction
from shared.db.tables import breakers, models
from shared.errors import DatabaseUnavailableError
from shared.providers.circuit import (
    PROBE_S,
    after_failure,
    family_of,
    from_document,
    open_until,
    to_document,
)
from shared.providers.failures import UpstreamCallError


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call a model. A ``probe`` is the one request that tries an open breaker."""

    model: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model's row as this process saw it; instants on this process's clock, 0 for none."""

    open_until: float
    probe_until: float


class Breakers:
    """The breakers of every model as this process sees them. Give each permit back at most once:
    ``succeeded``, ``failed`` or ``released``; a probe's, exactly once. ``call_with_fallback`` does
    so; only a stream that fails after it was opened must be told with ``failed_later``.

    Safe for threads.
    """

    def __init__(
        self, engine: sa.Engine, ttl_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._ttl_s = ttl_s
        self._now = now
        self._seen: Mapping[str, _Seen] = {}
        self._read_at = -float("inf")
        self._lock = threading.Lock()

    def admit(self, model: str) -> Permit | None:
        """Return leave to call the model, or None while its breaker is open."""
        seen = self._view().get(model)
        if seen is None or not seen.open_until:
            return Permit(model)
        if max(seen.open_until, seen.probe_until) > self._now():
            return None
        won = False
        with self._database(), single_statement(self._engine) as connection:
            won = connection.execute(_CLAIM, {"model": model}).one_or_none() is not None
        self._note(model, replace(seen, probe_until=self._now() + PROBE_S))
        return Permit(model, probe=True) if won else None

    def open_for_s(self, model: str) -> float:
        """Return in how many seconds the model may be tried again; 0 if it may be now."""
        seen = self._view().get(model)
        until = max(seen.open_until, seen.probe_until) if seen is not None else 0.0
        return max(0.0, until - self._now()) if until else 0.0

    def succeeded(self, permit: Permit) -> None:
        """Close the model's breaker, if this was its probe; forget failures counted so far."""
        if not permit.probe and self._view().get(permit.model) is None:
            return
        with self._database(), single_statement(self._engine) as connection:
            statement = _CLOSE if permit.probe else _FORGET
            if connection.execute(statement, {"model": permit.model}).rowcount:
                self._note(permit.model, None)

    def failed(self, permit: Permit, error: UpstreamCallError) -> None:
        """Count a failure; open the breaker when it is enough."""
        if family_of(error.error_class) is None:
            # The provider answered: nothing is wrong with it.
            self.succeeded(permit)
            return
        with self._database(), transaction(self._engine) as connection:
            self._note(permit.model, _count(connection, permit, error, self._now))

    def failed_later(self, model: str, error: UpstreamCallError) -> None:
        """Count a stream that failed after its opening."""
        self.failed(Permit(model), error)

    def released(self, permit: Permit) -> None:
        """Give a permit back that nothing was learnt with."""
        if permit.probe:
            with self._database(), single_statement(self._engine) as connection:
                connection.execute(_RELEASE, {"model": permit.model})
                self._expire()

    def _view(self) -> Mapping[str, _Seen]:
        if self._now() - self._read_at < self._ttl_s:
            return self._seen
        # Whoever finds it being refreshed goes on with what was seen last.
        if self._lock.acquire(blocking=False):
            try:
                with self._database(), single_statement(self._engine) as connection:
                    self._seen = _read(connection, self._now)
                self._read_at = self._now()
            finally:
                self._lock.release()
        return self._seen

    def _note(self, model: str, seen: _Seen | None) -> None:
        rest = {name: row for name, row in self._seen.items() if name != model}
        self._seen = rest if seen is None else {**rest, model: seen}

    def _expire(self) -> None:
        self._read_at = -float("inf")

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Go on without the database: a breaker is advice, and must fail nobody's request."""
        try:
            yield
        except DatabaseUnavailableError:
            return


@lru_cache(maxsize=1)
def _breakers_on(engine: sa.Engine, ttl_s: float) -> Breakers:
    return Breakers(engine, ttl_s)


def get_breakers() -> Breakers:
    """Return the process's breakers, on the process's engine."""
    return _breakers_on(get_engine(), get_settings().snapshot_ttl_s)


def open_breakers(connection: sa.Connection) -> frozenset[str]:
    """Return the models that may not be called now. A model whose probe is due is not among them:
    it must be chosen to be tried.
    """
    return frozenset(connection.scalars(_OPEN))


_NOW = sa.func.clock_timestamp()
_MODEL: sa.BindParameter[str] = sa.bindparam("model", type_=sa.Text)
_IS_VALID = breakers.c.updated_at >= models.c.updated_at
_JOINED = breakers.join(models, models.c.id == breakers.c.model_id)
_OPEN = (
    sa.select(breakers.c.model_id)
    .select_from(_JOINED)
    .where(_IS_VALID, sa.func.greatest(breakers.c.open_until, breakers.c.probe_until) > _NOW)
)
_READ = (
    sa.select(
        breakers.c.model_id,
        sa.func.extract("epoch", breakers.c.open_until - _NOW).label("open_s"),
        sa.func.extract("epoch", breakers.c.probe_until - _NOW).label("probe_s"),
    )
    .select_from(_JOINED)
    .where(_IS_VALID)
)
# Of processes that claim at once one sees the condition true; the others wait for its row's lock
# and then find it false.
_CLAIM = (
    sa.update(breakers)
    .where(
        breakers.c.model_id == _MODEL,
        breakers.c.open_until <= _NOW,
        sa.func.coalesce(breakers.c.probe_until, breakers.c.open_until) <= _NOW,
    )
    .values(probe_until=_NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, PROBE_S))
    .returning(breakers.c.model_id)
)
_RELEASE = sa.update(breakers).where(breakers.c.model_id == _MODEL).values(probe_until=None)
_CLOSE = sa.delete(breakers).where(breakers.c.model_id == _MODEL)
_FORGET = _CLOSE.where(breakers.c.open_until.is_(None))
_LOCK = (
    sa.select(
        breakers.c.circuits,
        breakers.c.probe_until,
        (breakers.c.updated_at >= models.c.updated_at).label("is_valid"),
        sa.func.extract("epoch", _NOW).label("now"),
    )
    .select_from(_JOINED)
    .where(breakers.c.model_id == _MODEL)
    .with_for_update(of=breakers)
)
# A model that was deleted meanwhile gets no row.
_ENSURE = (
    insert(breakers)
    .from_select(
        ["model_id", "circuits"],
        sa.select(models.c.id, sa.literal({}, breakers.c.circuits.type)).where(
            models.c.id == _MODEL
        ),
    )
    .on_conflict_do_nothing()
)


def _read(connection: sa.Connection, now: Callable[[], float]) -> dict[str, _Seen]:
    rows = connection.execute(_READ).all()
    here = now()
    return {
        row.model_id: _Seen(_local(here, row.open_s), _local(here, row.probe_s)) for row in rows
    }


def _local(here: float, distance_s: Any) -> float:
    return 0.0 if distance_s is None else here + float(distance_s)


def _count(
    connection: sa.Connection, permit: Permit, error: UpstreamCallError, now: Callable[[], float]
) -> _Seen | None:
    """Advance the state machine under the row's lock."""
    connection.execute(_ENSURE, {"model": permit.model})
    row = connection.execute(_LOCK, {"model": permit.model}).one_or_none()
    if row is None:
        return None
    instant = float(row.now)
    before = from_document(row.circuits) if row.is_valid else {}
    circuits = after_failure(before, error, instant, was_probe=permit.probe)
    until = open_until(circuits)
    probe_until = None if permit.probe or not row.is_valid else row.probe_until
    connection.execute(
        sa.update(breakers)
        .where(breakers.c.model_id == permit.model)
        .values(
            circuits=to_document(circuits),
            open_until=None if until is None else sa.func.to_timestamp(until),
            probe_until=probe_until,
            updated_at=_NOW,
        )
    )
    here = now()
    return _Seen(_local(here, None if until is None else until - instant), 0.0)
