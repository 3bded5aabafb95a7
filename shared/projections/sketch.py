"""A mergeable quantile sketch: counts in logarithmic buckets (Masson et al. 2019, DDSketch).

A quantile read from it is within ``RELATIVE_ERROR`` of the true value. The state is a dict of
bucket to count, so it merges by addition and lies in a JSON column as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
# Values at or below this share one bucket; milliseconds need no more.
_SMALLEST = 1e-3

Sketch = dict[str, int]


def add(sketch: Sketch, value: float) -> None:
    """Count one value (>= 0) in place."""
    bucket = str(math.ceil(math.log(max(value, _SMALLEST)) / _LOG_GAMMA))
    sketch[bucket] = sketch.get(bucket, 0) + 1


def merge(into: Sketch, other: Mapping[str, int]) -> None:
    """Add ``other``'s counts in place; order does not matter."""
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count


def quantile(sketch: Mapping[str, int], q: float) -> float | None:
    """Return the ``q`` quantile, or None of an empty sketch."""
    total = sum(sketch.values())
    rank = q * (total - 1)
    seen = 0
    for bucket in sorted(sketch, key=int):
        seen += sketch[bucket]
        if seen > rank:
            return float(2 * _GAMMA ** int(bucket) / (_GAMMA + 1))
    return None
