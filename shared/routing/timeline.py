"""Time in buckets that are fine for the recent past and coarse for the distant one.

An instant becomes a tick of 1,024 s. Its bucket is the finest aligned interval of ``2**level``
ticks that is still among the last ``PER_LEVEL`` of its size. That depends on the tick and the
newest tick alone, and a bucket never has to be split again, so counts kept per bucket are the
same whatever the order in which observations arrived, and their number grows with the logarithm
of the history.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

TICK_SECONDS: Final = 1024
PER_LEVEL: Final = 4

Bucket = tuple[int, int]  # (level, index): ticks [index << level, (index + 1) << level)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tick_of(at: datetime) -> int:
    """Return the tick that holds an aware instant."""
    return int((at - _EPOCH).total_seconds() // TICK_SECONDS)


def bucket_of(tick: int, newest: int) -> Bucket:
    """Return the bucket of a tick; ``newest`` is at or after every tick seen."""
    level = 0
    while (newest >> level) - (tick >> level) >= PER_LEVEL:
        level += 1
    return level, tick >> level


def moved(bucket: Bucket, newest: int) -> Bucket:
    """Return the bucket that ``bucket`` belongs to once ``newest`` has advanced."""
    level, index = bucket
    while (newest >> level) - index >= PER_LEVEL:
        level, index = level + 1, index >> 1
    return level, index


def start_of(bucket: Bucket) -> int:
    """Return the first tick of a bucket."""
    level, index = bucket
    return index << level
