"""Rollups: the event log folded into minutes and hours, by level, model and policy version.

Everything that a dashboard shows of the past comes from here. Each event falls into the bucket of
its decision's instant, so late feedback lands beside the decision it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "weighted_reward_sum_usd",
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
    """Add ``events`` to the rollups."""
    cells = summarise(events)
    if not cells:
        return
    stored = _read_sketches(connection, cells)
    for key, latency in stored.items():
        sketch.merge(cells[key].latency, latency)
    statement = insert(rollups)
    statement = statement.on_conflict_do_update(
        index_elements=list(rollups.primary_key.columns),
        set_={
            **{name: rollups.c[name] + statement.excluded[name] for name in _SUMS},
            # A batch without latencies must not wipe what is stored.
            "latency_sketch": sa.case(
                (
                    statement.excluded.latency_sketch == sa.text("'{}'::jsonb"),
                    rollups.c.latency_sketch,
                ),
                else_=statement.excluded.latency_sketch,
            ),
        },
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


def summarise(events: Iterable[AnyRow]) -> dict[Key, Cell]:
    """Return what ``events`` add to each bucket. Pure; order does not matter."""
    cells: dict[Key, Cell] = {}
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
        }
    return None


def _read_sketches(connection: sa.Connection, cells: dict[Key, Cell]) -> dict[Key, sketch.Sketch]:
    with_latency = [key for key, cell in cells.items() if cell.latency]
    if not with_latency:
        return {}
    keys = sa.tuple_(*rollups.primary_key.columns)
    rows = connection.execute(
        sa.select(*rollups.primary_key.columns, rollups.c.latency_sketch).where(
            keys.in_([tuple(key) for key in with_latency])
        )
    )
    return {Key(*row[:-1]): row.latency_sketch for row in rows}
