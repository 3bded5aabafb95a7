from __future__ import annotations

import pytest

from infra.bench.stats import paired_ratio, percentile, summary_ms


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0)]
)
def test_percentiles_are_measured_values(percent: float, expected: float) -> None:
    shuffled = [float(n * 37 % 100 + 1) for n in range(100)]
    assert percentile(shuffled, percent) == expected


def test_one_value_is_every_percentile() -> None:
    assert percentile([3.0], 1) == percentile([3.0], 99) == 3.0


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize("percent", [0.0, -1.0, 100.1])
def test_impossible_percentages_are_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent must be"):
        percentile([1.0], percent)


def test_summaries_are_in_milliseconds() -> None:
    assert summary_ms([0.001, 0.002, 0.0034567]) == {"p50": 2.0, "p99": 3.457, "max": 3.457}


def test_a_ratio_compares_with_what_was_measured_at_the_same_moment() -> None:
    assert paired_ratio([150.0, 1500.0, 160.0], [100.0, 1000.0, 40.0]) == 1.5


def test_pairs_must_be_whole() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0, 2.0], [1.0])
