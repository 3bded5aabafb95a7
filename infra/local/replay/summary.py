"""What the journal and the recordings say together: a pure fold, each request counted once.

The truth of every model on every row is known, so what was served can stand beside what chance,
the best single model and an oracle would have earned on *the same requests* with the same weights.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from infra.local.replay.journal import Decided, Judged, Record, Refused
from infra.local.replay.traffic import Traffic, Weights
from shared.routing.types import LEVELS

_STAGES = 4
_MEASURES = ("utility_usd", "quality", "cost_usd")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Means per request over the same requests, in USD (utility) or in [0, 1] (quality).

    ``best_fixed`` is the one model with the highest mean *utility* in hindsight, over all of these
    requests; ``best_fixed_per_level`` may take another model at each level; ``oracle`` takes the
    best model of each request.
    """

    requests: int
    best_fixed_model: str
    utility_usd: Mapping[str, float]
    quality: Mapping[str, float]
    cost_usd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Share:
    """A count and its share of the requests of its group, in [0, 1]."""

    requests: int
    share: float


@dataclass(frozen=True, slots=True)
class LevelSummary:
    """One level as the system assigned it."""

    requests: int
    share: float
    models: Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Exact percentiles (nearest rank) in milliseconds; None without a request."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything a replay reports. ``stages`` are the comparison over four equal stretches."""

    requests: int
    feedback_acknowledged: int
    feedback_outstanding: int
    refused: int
    retried: int
    not_recorded: int
    level_agreement: float | None
    levels: Mapping[str, LevelSummary]
    models: Mapping[str, Share]
    comparison: Comparison | None
    stages: Sequence[Comparison]
    cost_usd: float
    mean_quality: float | None
    wall_ms: Percentiles
    simulated_upstream_ms: Percentiles


@dataclass(frozen=True, slots=True)
class Scored:
    """What each recorded model would have earned on one request; ``served`` is the one chosen."""

    level: str
    served: int
    utility_usd: tuple[float, ...]
    quality: tuple[float, ...]
    cost_usd: tuple[float, ...]


class Totals:
    """Running sums that a comparison is read from, so that a live display costs nothing."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._n = 0
        self._by_level: dict[str, dict[str, list[float]]] = {}
        self._served = dict.fromkeys(_MEASURES, 0.0)
        self._oracle = dict.fromkeys(_MEASURES, 0.0)

    def add(self, scored: Scored) -> None:
        """Take in one request."""
        self._n += 1
        places = range(len(self._traffic.models))
        best = max(places, key=scored.utility_usd.__getitem__)
        level = self._by_level.setdefault(
            scored.level, {measure: [0.0] * len(places) for measure in _MEASURES}
        )
        for measure in _MEASURES:
            values: tuple[float, ...] = getattr(scored, measure)
            self._served[measure] += values[scored.served]
            self._oracle[measure] += values[best]
            sums = level[measure]
            for place in places:
                sums[place] += values[place]

    def comparison(self) -> Comparison | None:
        """Return the means so far, None without a request; ties go to the first model."""
        if not self._n:
            return None
        places = range(len(self._traffic.models))
        whole = {
            measure: [
                math.fsum(level[measure][place] for level in self._by_level.values())
                for place in places
            ]
            for measure in _MEASURES
        }
        best = max(places, key=whole["utility_usd"].__getitem__)
        best_at = {
            name: max(places, key=level["utility_usd"].__getitem__)
            for name, level in self._by_level.items()
        }

        def means(measure: str) -> Mapping[str, float]:
            sums = {
                "served": self._served[measure],
                "random": math.fsum(whole[measure]) / len(places),
                "best_fixed": whole[measure][best],
                "best_fixed_per_level": math.fsum(
                    level[measure][best_at[name]] for name, level in self._by_level.items()
                ),
                "oracle": self._oracle[measure],
            }
            return {name: total / self._n for name, total in sums.items()}

        return Comparison(
            requests=self._n,
            best_fixed_model=self._traffic.models[best].id,
            utility_usd=means("utility_usd"),
            quality=means("quality"),
            cost_usd=means("cost_usd"),
        )


class Fold:
    """Journal records in, summary out; a record seen twice changes nothing."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._decided: dict[int, Decided] = {}
        self._scored: dict[int, Scored] = {}
        self._judged: set[str] = set()
        self._refused: set[tuple[int, str]] = set()
        self._unfed: dict[str, Decided] = {}
        self._totals = Totals(traffic)
        self._models_by_level: dict[str, Counter[str]] = {level: Counter() for level in LEVELS}
        self._wall_ms: list[float] = []
        self._upstream_ms: list[float] = []
        self._cost_usd = 0.0
        self._agreeing = self._retried = 0

    @property
    def requests(self) -> int:
        """Number of acknowledged requests."""
        return len(self._decided)

    def add(self, record: Record) -> None:
        """Take in one record."""
        if isinstance(record, Decided):
            if record.sequence not in self._decided:
                self._add_decided(record)
        elif isinstance(record, Judged):
            self._judged.add(record.decision_id)
            self._unfed.pop(record.decision_id, None)
        elif isinstance(record, Refused):
            self._refused.add((record.sequence, record.stage))
            if record.decision_id is not None:
                self._unfed.pop(record.decision_id, None)

    def finished(self) -> set[int]:
        """Return the positions that need not be sent again."""
        return self._decided.keys() | {sequence for sequence, _ in self._refused}

    def without_feedback(self) -> list[Decided]:
        """Return the acknowledged decisions whose feedback is still to be sent."""
        return list(self._unfed.values())

    def summary(self, *, with_stages: bool = True) -> Summary:
        """Return the numbers so far; ``with_stages`` looks at every request again."""
        n = self.requests
        comparison = self._totals.comparison()
        models: Counter[str] = Counter()
        for counts in self._models_by_level.values():
            models.update(counts)
        return Summary(
            requests=n,
            feedback_acknowledged=len(self._judged),
            feedback_outstanding=len(self._unfed),
            refused=len(self._refused),
            retried=self._retried,
            not_recorded=n - len(self._scored),
            level_agreement=self._agreeing / n if n else None,
            levels={
                level: LevelSummary(
                    counts.total(), counts.total() / n if n else 0.0, _shares(counts)
                )
                for level, counts in self._models_by_level.items()
            },
            models=_shares(models),
            comparison=comparison,
            stages=self._stages() if with_stages else (),
            cost_usd=self._cost_usd,
            mean_quality=comparison.quality["served"] if comparison else None,
            wall_ms=_percentiles(self._wall_ms),
            simulated_upstream_ms=_percentiles(self._upstream_ms),
        )

    def _add_decided(self, record: Decided) -> None:
        self._decided[record.sequence] = record
        self._models_by_level.setdefault(record.level, Counter())[record.model] += 1
        self._agreeing += record.level == record.recorded_level
        self._retried += record.attempts > 1
        self._cost_usd += record.cost_usd or 0.0
        insort(self._wall_ms, record.wall_ms)
        if record.latency_ms is not None:
            insort(self._upstream_ms, record.latency_ms)
        if record.quality is not None and record.decision_id not in self._judged:
            self._unfed[record.decision_id] = record
        scored = _score(self._traffic, record)
        if scored is not None:
            self._scored[record.sequence] = scored
            self._totals.add(scored)

    def _stages(self) -> Sequence[Comparison]:
        ordered = [self._scored[sequence] for sequence in sorted(self._scored)]
        edges = [len(ordered) * stage // _STAGES for stage in range(_STAGES + 1)]
        found = []
        for left, right in pairwise(edges):
            totals = Totals(self._traffic)
            for scored in ordered[left:right]:
                totals.add(scored)
            found.append(totals.comparison())
        return [comparison for comparison in found if comparison is not None]


def fold(traffic: Traffic, records: Iterable[Record]) -> Summary:
    """Return the summary of a whole journal."""
    folded = Fold(traffic)
    for record in records:
        folded.add(record)
    return folded.summary()


def percentiles(values: Iterable[float]) -> Percentiles:
    """Return the exact p50 and p99: the smallest value with at least that share at or below it."""
    return _percentiles(sorted(values))


def _score(traffic: Traffic, record: Decided) -> Scored | None:
    row, served = traffic.row(record.row), traffic.model_index(record.model)
    if row is None or served is None:
        return None
    weights = Weights(record.quality_value_usd, record.latency_cost_usd_per_s)
    places = range(len(traffic.models))
    cost = tuple(traffic.cost_usd(row, place) for place in places)
    utility = tuple(
        weights.utility_usd(row.quality[place], cost[place], traffic.latency_ms(row, place))
        for place in places
    )
    return Scored(record.recorded_level, served, utility, row.quality, cost)


def _shares(counts: Counter[str]) -> Mapping[str, Share]:
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: Share(count, count / total) for name, count in ranked}


def _percentiles(ordered: Sequence[float]) -> Percentiles:
    n = len(ordered)
    if not n:
        return Percentiles(None, None)
    return Percentiles(ordered[-(-n * 50 // 100) - 1], ordered[-(-n * 99 // 100) - 1])
