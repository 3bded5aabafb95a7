"""The few statistics that noisy machines allow: percentiles, and medians of ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: a value that was measured, never an interpolation.

    Raises
    ------
    ValueError
        If there are no values, or ``percent`` is not in (0, 100].
    """
    if not values:
        raise ValueError("no values were measured")
    if not 0.0 < percent <= 100.0:
        raise ValueError(f"percent must be in (0, 100], got {percent}")
    return sorted(values)[math.ceil(len(values) * percent / 100.0) - 1]


def summary_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return ``p50``, ``p99`` and ``max`` of durations in milliseconds, rounded to microseconds."""
    return {
        "p50": round(percentile(seconds, 50) * 1000, 3),
        "p99": round(percentile(seconds, 99) * 1000, 3),
        "max": round(max(seconds) * 1000, 3),
    }


def paired_ratio(values: Sequence[float], references: Sequence[float]) -> float:
    """Return the median of each value over the reference that was measured right before it.

    Pairs share their moment, so a machine that is busy for a while hardly moves the ratio.
    """
    return statistics.median(v / r for v, r in zip(values, references, strict=True))
