"""Per level: is the leading model known? From hourly rollups alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from functions.learning import repository
from shared.db.rows import AnyRow
from shared.routing.convergence import Belief, standing_of, weighted_belief
from shared.routing.types import LEVELS, Level
from shared.schemas.learning import Convergence, LevelConvergence

_DAYS: Final = 28
_SUMS: Final = (
    "weight_sum",
    "weighted_reward_sum_usd",
    "weight_square_sum",
    "weight_square_reward_sum",
    "weight_square_reward_square_sum",
)


def convergence_of(connection: sa.Connection, now: datetime) -> Convergence:
    """Return where each level stands after the last four weeks."""
    since = now - timedelta(days=_DAYS)
    rows = repository.rollups_since(connection, "1h", since)
    ends = [since + timedelta(days=day + 1) for day in range(_DAYS)]
    return Convergence(
        since=since,
        until=now,
        levels=[_level(level, [r for r in rows if r.level == level], ends) for level in LEVELS],
    )


def _level(level: Level, rows: list[AnyRow], ends: list[datetime]) -> LevelConvergence:
    standing = standing_of(_beliefs(rows, ends))
    if standing is None:
        return LevelConvergence(
            level=level, leader=None, runner_up=None, probability_best=None, advantage_usd=None,
            half_width_usd=None, slope_usd_per_day=None, converged=False, converged_since=None,
            reason="fewer than two models have been judged often enough",
        )  # fmt: skip
    since = standing.converged_since
    return LevelConvergence(
        level=level,
        leader=standing.leader,
        runner_up=standing.runner_up,
        probability_best=standing.probability_best,
        advantage_usd=standing.advantage,
        half_width_usd=standing.half_width,
        slope_usd_per_day=standing.slope,
        converged=standing.converged,
        converged_since=ends[since] if since is not None else None,
        reason=standing.reason,
    )


def _beliefs(rows: Iterable[AnyRow], ends: list[datetime]) -> list[dict[str, Belief]]:
    """Return what was believed at each day's end, from the first day with any evidence on."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(_SUMS))
    pending = list(rows)
    position = 0
    days: list[dict[str, Belief]] = []
    for end in ends:
        while position < len(pending) and pending[position].bucket_at < end:
            row = pending[position]
            for index, name in enumerate(_SUMS):
                sums[row.model][index] += getattr(row, name)
            position += 1
        beliefs = {
            model: belief
            for model, totals in sums.items()
            if (belief := weighted_belief(*totals)) is not None
        }
        days.append(beliefs)
    # Days before the first evidence are dropped by standing_of, which needs two models.
    return days
