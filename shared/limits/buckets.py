"""The arithmetic of the generic cell rate algorithm (GCRA), in whole nanoseconds.

A bucket of ``limit`` per ``window_s`` starts full and refills evenly: one unit each
``window_s / limit`` seconds. Its whole state is one instant, the theoretical arrival time, at which
it would be full again; what is in use is that instant less now (the backlog). A request of ``cost``
units adds its intervals to the backlog and is admitted if the backlog still fits the window. So in
any span of ``t`` seconds at most ``limit + t * limit / window_s`` units are admitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

NS = 1_000_000_000


@dataclass(frozen=True)
class Bucket:
    """What one request takes from one bucket: ``cost`` of ``limit`` units per ``window_s``.

    ``name`` is what callers are told (``RateLimit-Policy``); ``subject`` is whose bucket it is.
    A cost above the limit is never admitted.
    """

    name: str
    subject: str
    limit: int
    window_s: int
    cost: int = 1

    @cached_property
    def id(self) -> str:
        return f"{self.name}:{self.subject}"

    @cached_property
    def window_ns(self) -> int:
        return self.window_s * NS

    @cached_property
    def interval_ns(self) -> int:
        """Nanoseconds a unit, rounded down: exactly ``limit`` fit while limit^2 <= window_ns."""
        return max(1, self.window_ns // self.limit)

    @cached_property
    def increment_ns(self) -> int:
        return self.cost * self.interval_ns


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for a request, told by its tightest bucket; ``violated`` names all that refuse.

    ``reset_s``: seconds until the bucket is full again. ``retry_after_s``: seconds until the same
    request fits, 0 if it was admitted. Both are rounded up.
    """

    admitted: bool
    policy: str
    limit: int
    window_s: int
    remaining: int
    reset_s: int
    retry_after_s: int
    violated: tuple[str, ...] = ()


def judge(buckets: Sequence[Bucket], backlogs_ns: Sequence[int], *, admitted: bool) -> Verdict:
    """Return the verdict on buckets whose backlogs before the request were ``backlogs_ns``."""
    lacks_ns = [
        backlog + bucket.increment_ns - bucket.window_ns
        for bucket, backlog in zip(buckets, backlogs_ns, strict=True)
    ]
    if not admitted:
        place = max(range(len(buckets)), key=lacks_ns.__getitem__)
        bucket = buckets[place]
        return Verdict(
            False, bucket.name, bucket.limit, bucket.window_s,
            max(0, bucket.window_ns - backlogs_ns[place]) // bucket.interval_ns,
            _up(backlogs_ns[place]), max(1, _up(lacks_ns[place])),
            tuple(b.name for b, lack in zip(buckets, lacks_ns, strict=True) if lack > 0),
        )  # fmt: skip
    remaining = [-lack // b.interval_ns for b, lack in zip(buckets, lacks_ns, strict=True)]
    place = min(range(len(buckets)), key=remaining.__getitem__)
    bucket = buckets[place]
    return Verdict(
        True, bucket.name, bucket.limit, bucket.window_s, min(remaining[place], bucket.limit),
        _up(backlogs_ns[place] + bucket.increment_ns), 0,
    )  # fmt: skip


def _up(duration_ns: int) -> int:
    return -(-duration_ns // NS)
