"""Sketches keep their error, and folding does not care how the log was cut or ordered."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kit.ids import DECISION, to_text, uuid7
from shared.projections import sketch
from shared.projections.rollups import GRAINS, Cell, Key, bucket_of, summarise

LATENCIES = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=200)
POLICY = "019ab3c4-d5e6-7f80-91a2-b3c4d5e6f708"


def sketch_of(values: list[float]) -> sketch.Sketch:
    made: sketch.Sketch = {}
    for value in values:
        sketch.add(made, value)
    return made


@given(LATENCIES, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(values: list[float], q: float) -> None:
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    estimate = sketch.quantile(sketch_of(values), q)
    assert estimate is not None
    assert abs(estimate - exact) <= sketch.RELATIVE_ERROR * exact * (1 + 1e-9)


@given(LATENCIES, LATENCIES)
def test_merging_is_adding_all(a: list[float], b: list[float]) -> None:
    left, right = sketch_of(a), sketch_of(b)
    sketch.merge(left, sketch_of(b))
    sketch.merge(right, sketch_of(a))
    assert left == right == sketch_of(a + b)


def test_the_edges_of_a_sketch() -> None:
    assert sketch.quantile({}, 0.5) is None
    zeros = sketch_of([0.0, 0.0, 5.0])
    assert sketch.quantile(zeros, 0.5) == pytest.approx(1e-3, rel=0.02)
    assert sketch.quantile(zeros, 1.0) == pytest.approx(5, rel=0.01)


def _event(kind: int, minute: int, level: str, model: str, amount: float) -> Any:
    data: dict[str, Any] = {
        "decision_id": to_text(DECISION, uuid7(1_763_800_000_000 + minute * 60_000)),
        "level": level, "model": model, "policy_version_id": POLICY, "track": "stable",
    }  # fmt: skip
    more: dict[str, Any] = {}
    if kind == 0:
        name, more = "NeuralRouteCompleted", {"explored": amount > 0.5, "exploration_usd": amount}
    elif kind == 1:
        name = "OutcomeRecorded"
        more = {
            "status": "success" if amount < 0.8 else "error", "cost_usd": amount or None,
            "tokens_in": 3, "tokens_out": 5, "latency_ms": amount * 1_000,
        }  # fmt: skip
    elif kind == 2:
        name = "FeedbackRecorded"
        more = {"score": amount, "reward_usd": amount - 0.5, "propensity": 0.1 + amount / 2}
    else:
        name = "SomethingElse"
    return SimpleNamespace(detail_type=name, data={**data, **more})


EVENTS = st.lists(
    st.builds(
        _event, st.integers(0, 3), st.integers(0, 130), st.sampled_from(["L1", "L2"]),
        st.sampled_from(["a", "b"]), st.floats(0, 1),
    ),
    max_size=40,
)  # fmt: skip


def _same(a: dict[Key, Cell], b: dict[Key, Cell]) -> None:
    assert a.keys() == b.keys()
    for key, cell in a.items():
        assert cell.latency == b[key].latency
        assert cell.sums.keys() == b[key].sums.keys()
        for name, amount in cell.sums.items():
            assert math.isclose(amount, b[key].sums[name], rel_tol=1e-12, abs_tol=1e-12)


@given(EVENTS, st.randoms(use_true_random=False))
def test_order_changes_no_bucket(events: list[Any], rng: Any) -> None:
    shuffled = events[:]
    rng.shuffle(shuffled)
    _same(summarise(events), summarise(shuffled))


@given(EVENTS, st.integers(0, 40))
def test_a_cut_log_continues_bit_for_bit(events: list[Any], cut: int) -> None:
    begun = summarise(events[:cut])
    touched = summarise(events[cut:]).keys()
    stored = {key: cell for key, cell in begun.items() if key in touched}
    whole = {**begun, **summarise(events[cut:], stored)}
    assert whole == summarise(events)


@given(EVENTS)
def test_every_grain_tells_the_same_totals(events: list[Any]) -> None:
    totals: dict[str, dict[str, float]] = {grain: {} for grain in GRAINS}
    for key, cell in summarise(events).items():
        for name, amount in cell.sums.items():
            totals[key.grain][name] = totals[key.grain].get(name, 0) + amount
    one, other = totals.values()
    assert one.keys() == other.keys()
    assert all(math.isclose(one[n], other[n], rel_tol=1e-9, abs_tol=1e-12) for n in one)


@given(st.integers(1_577_836_800, 2_208_988_800).map(lambda s: datetime.fromtimestamp(s, UTC)))
def test_a_bucket_holds_its_instant(instant: datetime) -> None:
    for grain, width in GRAINS.items():
        start = bucket_of(instant, grain)
        assert start <= instant < start + width
        assert start.timestamp() % width.total_seconds() == 0


def test_a_key_names_its_bucket() -> None:
    (minute, hour) = summarise([_event(0, 7, "L1", "a", 0.1)])
    assert isinstance(minute.policy_version_id, UUID)
    assert (minute.grain, hour.grain) == ("1m", "1h") and hour.bucket_at <= minute.bucket_at
