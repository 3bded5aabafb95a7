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
_Z_95_ONE_SIDED = 1.6448536269514722
# Below this many judgements a standard error says nothing.
_LEAST_REWARDS = 20


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
    regret, regret_se = _weighted_regret(level_figures, levels)
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
        regret_vs_best_fixed_usd=regret,
        regret_se_usd=regret_se,
        exploration_share=total.explored / total.decisions if total.decisions else None,
        exploration_usd=total.exploration_usd,
        updates=state.updates if state is not None else 0,
        state_version=state.version if state is not None else 0,
        state_age_s=(now - state.created_at).total_seconds() if state is not None else None,
        levels=level_figures,
        series=_series(rows, _BUCKETS[window]),
    )


@dataclass(frozen=True, slots=True)
class FixedModel:
    """What always choosing one model would have earned per decision, USD, with its error."""

    model: str
    value: float
    standard_error: float


def best_fixed(rows: Iterable[AnyRow]) -> FixedModel | None:
    """Return the single model that would have earned most on these rows, as far as is known.

    Self-normalised inverse propensity: every reward counts 1/propensity times, so a model that was
    shown rarely is judged as if it had been shown to everybody. The best of many noisy figures is
    too good to be true, so the one with the best *lower bound* is taken, of those shown often
    enough to have one.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 6)
    for row in rows:
        parts = (
            row.rewards, row.weight_sum, row.weighted_reward_sum_usd, row.weight_square_sum,
            row.weight_square_reward_sum, row.weight_square_reward_square_sum,
        )  # fmt: skip
        sums[row.model] = [total + part for total, part in zip(sums[row.model], parts, strict=True)]
    known = [
        _fixed(model, *parts[1:]) for model, parts in sums.items() if parts[0] >= _LEAST_REWARDS
    ]
    return max(
        known, key=lambda f: (f.value - _Z_95_ONE_SIDED * f.standard_error, f.model), default=None
    )


def _fixed(model: str, w: float, wr: float, w2: float, w2r: float, w2r2: float) -> FixedModel:
    """Return the estimate with the delta method's standard error (Owen 2013, section 9.2)."""
    value = wr / w
    variance = max(0.0, w2r2 - 2 * value * w2r + value * value * w2) / (w * w)
    return FixedModel(model, value, math.sqrt(variance))


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
        leader=best.model if best is not None else None,
        regret_vs_best_fixed_usd=best.value - mean if best and mean is not None else None,
        regret_se_usd=best.standard_error if best and mean is not None else None,
        exploration_share=sums.explored / sums.decisions if sums.decisions else None,
        updates=sums.rewards,
    )


def _weighted_regret(
    figures: list[LevelMetrics], levels: dict[str, list[AnyRow]]
) -> tuple[float | None, float | None]:
    """Return the levels' regret weighed by their judgements, and its standard error."""
    known = [
        (f.regret_vs_best_fixed_usd, f.regret_se_usd, int(sum(r.rewards for r in levels[f.level])))
        for f in figures
        if f.regret_vs_best_fixed_usd is not None and f.regret_se_usd is not None
    ]
    total = sum(judged for _, _, judged in known)
    if not total:
        return None, None
    regret = sum(value * judged for value, _, judged in known) / total
    return regret, math.hypot(*(error * judged for _, error, judged in known)) / total


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
