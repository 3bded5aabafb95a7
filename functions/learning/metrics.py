"""Learning figures of a window, computed from rollups alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from functions.learning import repository
from shared.db.rows import AnyRow
from shared.projections import sketch
from shared.projections.rollups import bucket_of
from shared.routing.types import LEVELS
from shared.schemas.learning import LearningMetrics, LevelMetrics, MetricsPoint

Window = Literal["1h", "24h", "7d"]
_SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_GRAINS = {"1h": "1m", "24h": "1h", "7d": "1h"}
_BUCKETS = {"1h": timedelta(minutes=1), "24h": timedelta(hours=1), "7d": timedelta(hours=6)}
_Z_95 = 1.959963984540054


@dataclass(slots=True)
class _Sums:
    """Totals of some rollup rows."""

    decisions: int = 0
    explored: int = 0
    exploration_usd: float = 0.0
    successes: int = 0
    failures: int = 0
    cost_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    rewards: int = 0
    reward_sum_usd: float = 0.0
    reward_square_sum: float = 0.0
    quality_sum: float = 0.0
    latency: sketch.Sketch = field(default_factory=dict)

    def add(self, row: AnyRow) -> None:
        for name in (n for n in self.__slots__ if n != "latency"):
            setattr(self, name, getattr(self, name) + getattr(row, name))
        sketch.merge(self.latency, row.latency_sketch)

    @property
    def reward_mean(self) -> float | None:
        return self.reward_sum_usd / self.rewards if self.rewards else None

    @property
    def quality_mean(self) -> float | None:
        return self.quality_sum / self.rewards if self.rewards else None

    @property
    def reward_interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean reward, by the normal approximation."""
        if self.rewards < 2:
            return None
        mean = self.reward_sum_usd / self.rewards
        variance = max(0.0, self.reward_square_sum / self.rewards - mean * mean)
        half = _Z_95 * math.sqrt(variance / (self.rewards - 1))
        return mean - half, mean + half


def metrics_of(connection: sa.Connection, window: Window, now: datetime) -> LearningMetrics:
    """Return the figures of the window that ends now."""
    grain = _GRAINS[window]
    since = bucket_of(now - _SPANS[window], grain)
    rows = repository.rollups_since(connection, grain, since)
    total = _Sums()
    levels: dict[str, list[AnyRow]] = defaultdict(list)
    for row in rows:
        total.add(row)
        levels[row.level].append(row)
    level_figures = [_level(level, levels[level]) for level in LEVELS]
    state = repository.newest_state(connection)
    return LearningMetrics(
        window=window,
        since=since,
        requests=total.decisions,
        successes=total.successes,
        failures=total.failures,
        cost_usd=total.cost_usd,
        tokens_in=total.tokens_in,
        tokens_out=total.tokens_out,
        latency_p50_ms=sketch.quantile(total.latency, 0.50),
        latency_p95_ms=sketch.quantile(total.latency, 0.95),
        latency_p99_ms=sketch.quantile(total.latency, 0.99),
        reward_mean_usd=total.reward_mean,
        quality_mean=total.quality_mean,
        regret_vs_best_fixed_usd=_weighted_regret(level_figures, levels),
        exploration_share=total.explored / total.decisions if total.decisions else None,
        exploration_usd=total.exploration_usd,
        updates=state.updates if state is not None else 0,
        state_version=state.version if state is not None else 0,
        state_age_s=(now - state.created_at).total_seconds() if state is not None else None,
        levels=level_figures,
        series=_series(rows, _BUCKETS[window]),
    )


def best_fixed(rows: Iterable[AnyRow]) -> tuple[str, float] | None:
    """Return the single model that would have earned most on these rows, and its mean reward.

    Self-normalised inverse propensity: every reward counts 1/propensity times, so a model that was
    shown rarely is judged as if it had been shown to everybody.
    """
    weight: dict[str, float] = defaultdict(float)
    earned: dict[str, float] = defaultdict(float)
    for row in rows:
        weight[row.model] += row.weight_sum
        earned[row.model] += row.weighted_reward_sum_usd
    values = {model: earned[model] / w for model, w in weight.items() if w > 0}
    if not values:
        return None
    leader = max(sorted(values), key=values.__getitem__)
    return leader, values[leader]


def _level(level: str, rows: list[AnyRow]) -> LevelMetrics:
    sums = _Sums()
    for row in rows:
        sums.add(row)
    best = best_fixed(rows)
    mean = sums.reward_mean
    return LevelMetrics(
        level=level,
        requests=sums.decisions,
        reward_mean_usd=mean,
        reward_ci_usd=sums.reward_interval,
        quality_mean=sums.quality_mean,
        leader=best[0] if best is not None else None,
        regret_vs_best_fixed_usd=best[1] - mean if best is not None and mean is not None else None,
        exploration_share=sums.explored / sums.decisions if sums.decisions else None,
        updates=sums.rewards,
    )


def _weighted_regret(figures: list[LevelMetrics], levels: dict[str, list[AnyRow]]) -> float | None:
    regrets = {
        f.level: f.regret_vs_best_fixed_usd
        for f in figures
        if f.regret_vs_best_fixed_usd is not None
    }
    judged = {level: int(sum(row.rewards for row in levels[level])) for level in regrets}
    total = sum(judged.values())
    if not total:
        return None
    return sum(regret * judged[level] for level, regret in regrets.items()) / total


def _series(rows: list[AnyRow], width: timedelta) -> list[MetricsPoint]:
    buckets: dict[datetime, _Sums] = {}
    for row in rows:
        start = row.bucket_at.timestamp() // width.total_seconds() * width.total_seconds()
        at = datetime.fromtimestamp(start, row.bucket_at.tzinfo)
        buckets.setdefault(at, _Sums()).add(row)
    return [
        MetricsPoint(
            at=at,
            requests=sums.decisions,
            cost_usd=sums.cost_usd,
            latency_p95_ms=sketch.quantile(sums.latency, 0.95),
            reward_mean_usd=sums.reward_mean,
            success_rate=sums.successes / served
            if (served := sums.successes + sums.failures)
            else None,
        )
        for at, sums in sorted(buckets.items())
    ]
