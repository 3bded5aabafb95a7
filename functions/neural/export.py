"""Decisions as CSV (RFC 4180), one row each, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from shared.schemas.neural import DecisionDetail

COLUMNS = (
    "decision_id", "created_at", "level", "task_type", "requested_model", "model", "propensity",
    "explored", "regret_usd", "policy", "policy_version", "track", "caller", "served_by", "status",
    "error_class", "latency_ms", "tokens_in", "tokens_out", "cost_usd", "score", "reward_usd",
)  # fmt: skip
# A cell that begins so would be run as a formula by a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(items: Iterable[DecisionDetail]) -> str:
    """Return a header and a row per decision; the first feedback's score, empty where none."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item in items:
        served, judged = item.outcome, item.feedback[0] if item.feedback else None
        row = (
            item.decision_id, item.created_at.isoformat(), item.level, item.task_type,
            item.requested_model, item.model, item.propensity, item.explored, item.regret_usd,
            item.policy.name, item.policy.version, item.track, item.caller,
            served and served.model, served and served.status, served and served.error_class,
            served and served.latency_ms, served.tokens_in if served else item.tokens_in,
            served and served.tokens_out, served and served.cost_usd,
            judged and judged.score, judged and judged.reward_usd,
        )  # fmt: skip
        writer.writerow([_safe(cell) for cell in row])
    return out.getvalue()


def _safe(cell: object) -> object:
    return "'" + cell if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
