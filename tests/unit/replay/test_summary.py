"""The summary: a pure fold of the journal against the truth."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from infra.local.replay.journal import Record
from infra.local.replay.summary import Fold, Percentiles, Share, fold, percentiles
from infra.local.replay.traffic import RecordedModel, RecordedRow, Traffic

from .records import make_decided, make_judged, make_refused


def three_requests() -> list[Record]:
    """The small model is right at L1, the large one wrong there; then the large one twice."""
    first = make_decided(0)
    second = make_decided(
        1, row="b", task="gsm8k", recorded_level="L3", level="L3", model="replay/large-70b"
    )
    third = make_decided(
        2, row="c", task="mbpp", recorded_level="L4", level="L3", model="replay/small-7b",
        quality=0.0,
    )  # fmt: skip
    return [first, make_judged(first), second, make_judged(second), third]


def test_counts_requests_levels_and_models(small_traffic: Traffic) -> None:
    found = fold(small_traffic, three_requests())
    assert found.requests == 3
    assert {level: row.requests for level, row in found.levels.items()} == {
        "L1": 1, "L2": 0, "L3": 2, "L4": 0,
    }  # fmt: skip
    assert found.models["replay/small-7b"] == Share(2, 2 / 3)
    assert found.levels["L3"].models["replay/large-70b"] == Share(1, 0.5)
    assert found.level_agreement == pytest.approx(2 / 3)


def test_compares_with_what_else_the_same_requests_could_have_earned(
    small_traffic: Traffic,
) -> None:
    found = fold(small_traffic, three_requests()).comparison
    assert found is not None
    # Quality per row: a (1, 0), b (0, 1), c (0, 0.5); served: a small, b large, c small.
    assert found.quality["served"] == pytest.approx(2 / 3)
    assert found.quality["random"] == pytest.approx(2.5 / 6)
    assert found.best_fixed_model == "replay/large-70b"
    assert found.quality["best_fixed"] == pytest.approx(0.5)
    assert found.quality["best_fixed_per_level"] == pytest.approx(2.5 / 3)
    assert found.quality["oracle"] == pytest.approx(2.5 / 3)
    small, large = (
        [small_traffic.cost_usd(row, place) for row in small_traffic.rows] for place in (0, 1)
    )
    served_cost = (small[0] + large[1] + small[2]) / 3
    assert found.cost_usd["served"] == pytest.approx(served_cost)
    assert found.utility_usd["served"] == pytest.approx(2 / 3 * 0.01 - served_cost)
    assert found.utility_usd["oracle"] >= found.utility_usd["best_fixed"]


def test_each_request_counts_once(small_traffic: Traffic) -> None:
    once = fold(small_traffic, three_requests())
    assert fold(small_traffic, three_requests() * 3) == once


def test_the_order_of_records_does_not_matter(small_traffic: Traffic) -> None:
    first, *others = [fold(small_traffic, order) for order in permutations(three_requests())]
    for other in others:
        assert other.comparison is not None
        assert first.comparison is not None
        assert other.models == first.models
        assert other.feedback_outstanding == first.feedback_outstanding == 1
        assert other.comparison.utility_usd == pytest.approx(dict(first.comparison.utility_usd))


def test_feedback_is_owed_until_it_is_acknowledged_or_refused(small_traffic: Traffic) -> None:
    folded = Fold(small_traffic)
    decided = [make_decided(sequence) for sequence in range(3)]
    for record in decided:
        folded.add(record)
    folded.add(make_judged(decided[0]))
    folded.add(make_refused(1, stage="feedback", decision_id=decided[1].decision_id))
    assert folded.without_feedback() == [decided[2]]


def test_refused_positions_are_finished_and_counted(small_traffic: Traffic) -> None:
    folded = Fold(small_traffic)
    folded.add(make_decided(0))
    folded.add(make_refused(4))
    assert folded.finished() == {0, 4}
    assert folded.summary().refused == 1


def test_a_model_that_is_not_recorded_is_counted_but_not_compared(small_traffic: Traffic) -> None:
    foreign = make_decided(0, model="openai/gpt-4o", quality=None, cost_usd=None)
    found = fold(small_traffic, [foreign, make_decided(1)])
    assert (found.requests, found.not_recorded, found.feedback_outstanding) == (2, 1, 1)
    assert found.comparison is not None
    assert found.comparison.requests == 1


def test_an_empty_journal_has_a_summary(small_traffic: Traffic) -> None:
    found = fold(small_traffic, [])
    assert (found.requests, found.comparison, found.mean_quality) == (0, None, None)
    assert found.wall_ms == Percentiles(None, None)


def test_stages_split_the_requests_into_equal_stretches(small_traffic: Traffic) -> None:
    found = fold(small_traffic, [make_decided(sequence) for sequence in range(8)])
    assert [stage.requests for stage in found.stages] == [2, 2, 2, 2]


def test_the_oracle_is_never_beaten_and_chance_never_beats_the_best_model() -> None:
    rng = Random(5)
    models = tuple(RecordedModel(f"m{n}-7b", rng.random(), rng.random()) for n in range(4))
    rows = tuple(
        RecordedRow(str(n), "mmlu", "L3", f"{n} " * rng.randint(1, 300),
                    tuple(rng.random() for _ in models))
        for n in range(60)
    )  # fmt: skip
    traffic = Traffic(models, rows, "0" * 64)
    records = [
        make_decided(n, row=row.id, recorded_level="L3", model=rng.choice(models).id)
        for n, row in enumerate(rows)
    ]
    found = fold(traffic, records).comparison
    assert found is not None
    utility = found.utility_usd
    assert utility["oracle"] >= utility["best_fixed_per_level"] >= utility["best_fixed"]
    assert utility["best_fixed"] >= utility["random"]
    assert utility["oracle"] >= utility["served"]


@pytest.mark.parametrize(
    ("values", "p50", "p99"),
    [
        ([5.0], 5.0, 5.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([float(n) for n in range(1, 101)], 50.0, 99.0),
        ([float(n) for n in range(200, 0, -1)], 100.0, 198.0),
    ],
)
def test_percentiles_are_exact(values: list[float], p50: float, p99: float) -> None:
    assert percentiles(values) == Percentiles(p50, p99)
