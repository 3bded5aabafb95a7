"""What the processes of ``test_rate_limits`` do: import little, so that they start fast."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import sqlalchemy as sa

from shared.limits import Bucket, admit

# So long a window that nothing is refilled while a test runs.
FOREVER_S = 10_000_000


def races(
    url: str, barrier: Barrier, results: Queue[Any], place: int, seeds: Sequence[int], attempts: int
) -> None:
    """For each seed ask ``attempts`` times for a unit of two buckets; tell how often it passed."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for seed in seeds:
            buckets = buckets_of(seed)
            barrier.wait(30)
            passed = sum(admit(connection, buckets).admitted for _ in range(attempts))
            results.put((seed, place, passed))
    engine.dispose()


def buckets_of(seed: int) -> list[Bucket]:
    """Return a tight and a wide bucket; which of them has which limit depends on the seed."""
    rng = random.Random(seed)
    tight = rng.randint(1, 60)
    wide = tight + rng.randint(0, 40)
    limits = rng.sample([tight, wide], 2)
    return [
        Bucket("default", f"race-{seed}", limits[0], FOREVER_S),
        Bucket("global", f"race-{seed}", limits[1], FOREVER_S),
    ]


def follow_the_clock(
    url: str, barrier: Barrier, results: Queue[Any], bucket: Bucket, until_s: float
) -> None:
    """Ask without pause for ``until_s`` seconds; tell (before, after) of every admission."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    admitted = []
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        barrier.wait(30)
        end = time.time() + until_s
        while (before := time.time()) < end:
            if admit(connection, [bucket]).admitted:
                admitted.append((before, time.time()))
    results.put(admitted)
    engine.dispose()
