"""Is it alive, is it ready, how does it stand?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa

from functions.system import repository
from functions.system.repository import Backlog
from shared.config import Settings
from shared.db.engine import single_statement
from shared.errors import DatabaseUnavailableError
from shared.kit.clock import utc_now
from shared.routing.types import LEVELS
from shared.schemas.neural import PolicyRef
from shared.schemas.system import Check, Health, LevelTraffic, ModelCounts, QueueDepth, Status
from shared.web.app import VERSION

STARTED_AT = utc_now()
# Ten sweeps of the relay's schedule: beyond that nobody is coming.
_MAX_LAG = timedelta(minutes=10)


def check_health(engine: sa.Engine, now: datetime) -> Health:
    """Check the parts that serving depends on; never raises."""
    checks: list[Check] = []
    try:
        with single_statement(engine) as connection:
            checks.append(_check("database", lambda: repository.ping(connection)))
            checks.append(_lag("bus", lambda: [repository.outbox_backlog(connection)], now))
            checks.append(
                _lag("learner-state", lambda: repository.projection_backlogs(connection), now)
            )
    except DatabaseUnavailableError as error:
        checks = [Check(name="database", status="failing", detail=error.detail, took_ms=0.0)]
    failing = any(check.status == "failing" for check in checks)
    return Health(status="failing" if failing else "ok", version=VERSION, checks=checks)


def status_of(connection: sa.Connection, settings: Settings, now: datetime) -> Status:
    """Return the system's state at one look."""
    served = {r.level: r for r in repository.served_since(connection, now - timedelta(hours=24))}
    successes = sum(row.successes for row in served.values())
    answered = successes + sum(row.failures for row in served.values())
    by_status = repository.models_by_status(connection)
    policy = repository.default_policy(connection)
    backlogs = [repository.outbox_backlog(connection), *repository.projection_backlogs(connection)]
    return Status(
        version=VERSION,
        environment=settings.environment,
        started_at=STARTED_AT,
        uptime_s=(now - STARTED_AT).total_seconds(),
        availability_24h=successes / answered if answered else None,
        levels=[
            LevelTraffic(
                level=level, requests_24h=served[level].decisions if level in served else 0
            )
            for level in LEVELS
        ],
        models=ModelCounts(
            **{name: by_status.get(name, 0) for name in ("operational", "degraded", "down")}
        ),
        policy=PolicyRef(name=policy.name, version=policy.active_version) if policy else None,
        queues=[
            QueueDepth(name=b.name, depth=b.depth, oldest_age_s=_age_s(b, now), dead=None)
            for b in backlogs
        ],
    )


def exposition(connection: sa.Connection) -> str:
    """Return the counters in Prometheus' text format; labels are levels and models only."""
    rows = repository.totals(connection)
    lines = list(_family("davinci_build_info", "gauge", "Version.", [(f'version="{VERSION}"', 1)]))
    for name, column, text in (
        ("davinci_decisions_total", "decisions", "Decisions made."),
        ("davinci_explorations_total", "explored", "Decisions that explored."),
        ("davinci_successes_total", "successes", "Requests served."),
        ("davinci_failures_total", "failures", "Requests that every model failed."),
        ("davinci_cost_usd_total", "cost_usd", "Cost of serving, USD."),
        ("davinci_tokens_in_total", "tokens_in", "Prompt tokens."),
        ("davinci_tokens_out_total", "tokens_out", "Completion tokens."),
        ("davinci_rewards_total", "rewards", "Judgements received."),
    ):
        samples = [
            (f'level="{row.level}",model="{_escape(row.model)}"', getattr(row, column))
            for row in rows
        ]
        lines += _family(name, "counter", text, samples)
    reward = [(f'level="{r.level}",model="{_escape(r.model)}"', r.reward_sum_usd) for r in rows]
    lines += _family("davinci_reward_usd", "gauge", "Sum of rewards, USD (may fall).", reward)
    waiting = [repository.outbox_backlog(connection), *repository.projection_backlogs(connection)]
    lines += _family(
        "davinci_backlog_events", "gauge", "Events that wait, by reader.",
        [(f'reader="{b.name}"', b.depth) for b in waiting],
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{{{labels}}} {value}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    started_at = time.perf_counter()
    yield lambda: round((time.perf_counter() - started_at) * 1000, 3)


def _check(name: str, action: Callable[[], None]) -> Check:
    with _timed() as elapsed_ms:
        action()
        return Check(name=name, status="ok", detail=None, took_ms=elapsed_ms())


def _lag(name: str, read: Callable[[], list[Backlog]], now: datetime) -> Check:
    with _timed() as elapsed_ms:
        late = [b for b in read() if b.oldest_at is not None and now - b.oldest_at > _MAX_LAG]
        detail = "; ".join(f"{b.name}: {b.depth} events wait since {b.oldest_at}" for b in late)
        return Check(
            name=name,
            status="failing" if late else "ok",
            detail=detail or None,
            took_ms=elapsed_ms(),
        )


def _age_s(backlog: Backlog, now: datetime) -> float | None:
    return (now - backlog.oldest_at).total_seconds() if backlog.oldest_at is not None else None
