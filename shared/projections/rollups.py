"""Rollups: the event log folded into minutes and hours, by level, model and policy version.

Everything that a dashboard shows of the past comes from here. Each event falls into the bucket of
its decision's instant, so late feedback lands beside the decision it judges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import rollups
from shared.events.contracts import (
    FeedbackRecordedV1,
    NeuralRouteCompletedV1,
    OutcomeRecordedV1,
)
from shared.kit.ids import DECISION, instant_of, parse
from shared.projections import sketch

NAME = "rollups"
GRAINS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1)}

_SUMS = (
    "decisions", "explored", "exploration_usd", "successes", "failures", "cost_usd", "tokens_in",
    "tokens_out", "rewards", "reward_sum_usd", "reward_square_sum", "quality_sum", "weight_sum",
    "weighted_reward_sum_usd", "weight_square_sum", "weight_square_reward_sum",
    "weight_square_reward_square_sum",
)  # fmt: skip


class Key(NamedTuple):
    """Which bucket of which series."""

    grain: str
    bucket_at: datetime
    level: str
    model: str
    policy_version_id: UUID
    track: str


@dataclass(slots=True)
class Cell:
    """What one batch adds to one bucket."""

    sums: dict[str, float] = field(default_factory=dict)
    latency: sketch.Sketch = field(default_factory=dict)

    def add(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, 0) + amount


def bucket_of(instant: datetime, grain: str) -> datetime:
    """Return the start of the bucket that holds ``instant``."""
    floor = instant.replace(second=0, microsecond=0)
    return floor if grain == "1m" else floor.replace(minute=0)


def fold_rollups(connection: sa.Connection, events: Sequence[AnyRow], _watermark: int) -> None:
    """Add ``events`` to the rollups.

    Each bucket is continued from its stored sums, one event after the other in the log's order:
    floating-point addition depends on grouping, so adding a batch's total would make the result
    depend on how the log happened to be cut. The projection's lock makes the read safe.
    """
    keys = summarise(events).keys()
    if not keys:
        return
    cells = summarise(events, _read_cells(connection, keys))
    statement = insert(rollups)
    statement = statement.on_conflict_do_update(
        index_elements=list(rollups.primary_key.columns),
        set_={name: statement.excluded[name] for name in (*_SUMS, "latency_sketch")},
    )
    rows = [
        {
            **key._asdict(),
            **{name: cell.sums.get(name, 0) for name in _SUMS},
            "latency_sketch": cell.latency,
        }
        for key, cell in sorted(cells.items())
    ]
    connection.execute(statement, rows)


def summarise(
    events: Iterable[AnyRow], stored: Mapping[Key, Cell] | None = None
) -> dict[Key, Cell]:
    """Return the buckets that ``events`` fall into, continued from ``stored``."""
    cells: dict[Key, Cell] = dict(stored or {})
    for event in events:
        amounts = _amounts(event.detail_type, event.data)
        if amounts is None:
            continue
        data = event.data
        at = instant_of(parse(DECISION, data["decision_id"]))
        for grain in GRAINS:
            key = Key(
                grain, bucket_of(at, grain), data["level"], data["model"],
                UUID(data["policy_version_id"]), data["track"],
            )  # fmt: skip
            cell = cells.setdefault(key, Cell())
            cell.add(**amounts)
            if amounts.get("successes"):
                sketch.add(cell.latency, data["latency_ms"])
    return cells


def _amounts(detail_type: str, data: dict[str, Any]) -> dict[str, float] | None:
    if detail_type == NeuralRouteCompletedV1.detail_type:
        return {
            "decisions": 1,
            "explored": int(data["explored"]),
            "exploration_usd": data["exploration_usd"],
        }
    if detail_type == OutcomeRecordedV1.detail_type:
        succeeded = data["status"] == "success"
        return {
            "successes": int(succeeded),
            "failures": int(not succeeded),
            "cost_usd": data["cost_usd"] or 0.0,
            "tokens_in": data["tokens_in"],
            "tokens_out": data["tokens_out"],
        }
    if detail_type == FeedbackRecordedV1.detail_type:
        reward, weight = data["reward_usd"], 1 / data["propensity"]
        return {
            "rewards": 1,
            "reward_sum_usd": reward,
            "reward_square_sum": reward * reward,
            "quality_sum": data["score"],
            "weight_sum": weight,
            "weighted_reward_sum_usd": weight * reward,
            "weight_square_sum": weight * weight,
            "weight_square_reward_sum": weight * weight * reward,
            "weight_square_reward_square_sum": (weight * reward) ** 2,
        }
    return None


def _read_cells(connection: sa.Connection, keys: Collection[Key]) -> dict[Key, Cell]:
    primary = list(rollups.primary_key.columns)
    sums = [rollups.c[name] for name in _SUMS]
    rows = connection.execute(
        sa.select(*primary, rollups.c.latency_sketch, *sums).where(
            sa.tuple_(*primary).in_([tuple(key) for key in keys])
        )
    )
    n = len(primary)
    return {
        Key(*row[:n]): Cell(dict(zip(_SUMS, row[n + 1 :], strict=True)), row[n]) for row in rows
    }
