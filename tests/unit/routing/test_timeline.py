from __future__ import annotations

from itertools import pairwise

from shared.routing.packing import pack, unpack
from shared.routing.timeline import bucket_of, moved, start_of


def test_the_recent_past_is_fine_and_the_distant_coarse() -> None:
    newest = 100_000
    sizes = [bucket_of(tick, newest)[0] for tick in range(newest, 0, -500)]
    assert sizes[0] == 0
    assert all(later >= earlier for earlier, later in pairwise(sizes))


def test_a_bucket_that_moved_is_the_one_its_ticks_would_get_now() -> None:
    for newest in (100, 1000, 5003):
        for later in (newest, newest + 1, newest + 77, newest * 9):
            for tick in range(0, newest, 7):
                assert moved(bucket_of(tick, newest), later) == bucket_of(tick, later)


def test_history_needs_few_buckets() -> None:
    year = 365 * 24 * 3600 // 1024
    assert len({bucket_of(tick, year) for tick in range(year)}) < 60


def test_a_bucket_starts_at_its_first_tick() -> None:
    assert start_of((3, 5)) == 40


def test_packing_is_lossless() -> None:
    values = [0, -1, 1, 2**62, -(2**62), 7]
    assert unpack(pack(values)).tolist() == values
    assert unpack(pack([])).tolist() == []
