from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.routing.decide import decide
from shared.routing.learner import FeedbackObservation, LearnerState, Observation
from shared.routing.learner import OutcomeObservation as Outcome
from shared.routing.strategies import action_probabilities, draw, optimistic_shares
from shared.routing.types import LEVELS, Candidate, ModelCard
from tests.unit.routing.scenes import NOW, SMALL, featurise, make_context, make_snapshot

STRATEGIES = st.sampled_from(["greedy", "epsilon_greedy", "inverse_gap", "thompson"])
MODELS = ("a", "b", "c")
UNIT = st.floats(0, 1)

# Old vectors, none at all, and prompts in several scripts.
VECTORS = (
    (),
    (1.0, 2.0),
    *(
        tuple(featurise(text, "L3", NOW).tolist())
        for text in ("", "What is 2 + 2?", "안녕하세요", "🔥" * 20, "def f(x):\n    return x")
    ),
)

feedbacks = st.builds(
    FeedbackObservation,
    level=st.sampled_from(LEVELS),
    task_type=st.sampled_from([None, "t", "u"]),
    model=st.sampled_from(MODELS),
    features=st.sampled_from(VECTORS),
    quality=UNIT,
    propensity=st.floats(0.001, 1),
    at=st.integers(-1000, 1000).map(lambda m: NOW + timedelta(minutes=m)),
)
outcomes = st.builds(
    Outcome,
    level=st.sampled_from(LEVELS),
    task_type=st.sampled_from([None, "t", "u"]),
    model=st.sampled_from(MODELS),
    cost_usd=st.none() | st.floats(0, 10),
    latency_ms=st.none() | st.floats(0, 1e6),
    tokens_out=st.none() | st.integers(0, 100_000),
    success=st.booleans(),
    at=st.just(NOW),
)
observations: st.SearchStrategy[Observation] = feedbacks | outcomes
cards = st.lists(
    st.builds(
        ModelCard,
        id=st.sampled_from(MODELS),
        input_usd_per_mtok=st.none() | st.floats(0, 100),
        output_usd_per_mtok=st.none() | st.floats(0, 100),
        context_tokens=st.integers(1000, 200_000),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda card: card.id,
)


def utilities(candidates: tuple[Candidate, ...]) -> dict[str, float]:
    return {c.model: c.utility_usd for c in candidates if c.utility_usd is not None}


@given(rows=st.lists(observations, max_size=30), data=st.data())
def test_folds_commute_and_associate_exactly(rows: list[Observation], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    whole = LearnerState.empty().fold(rows)
    assert LearnerState.empty().fold(shuffled) == whole
    assert LearnerState.empty().fold(shuffled[:cut]).fold(shuffled[cut:]) == whole
    assert LearnerState.from_json(whole.to_json()) == whole
    judged = [row for row in rows if isinstance(row, FeedbackObservation) and len(row.features) > 2]
    assert sum(near.n for near in whole.near.values()) == len(judged)


@given(
    rows=st.lists(observations, max_size=20),
    models=cards,
    strategy=STRATEGIES,
    epsilon=UNIT,
    share=UNIT,
    seed=st.integers(),
)
@settings(max_examples=200)
def test_probabilities_sum_to_one_and_the_draw_has_its_own(
    rows: list[Observation],
    models: list[ModelCard],
    strategy: str,
    epsilon: float,
    share: float,
    seed: int,
) -> None:
    snapshot = make_snapshot(
        *models,
        learner=LearnerState.empty().fold(rows),
        strategy=strategy,
        epsilon=epsilon,
        max_exploration_share=share,
    )
    decision = decide(make_context(), snapshot, seed=seed, now=NOW)
    probabilities = {c.model: c.probability for c in decision.candidates}
    assert abs(math.fsum(probabilities.values()) - 1.0) <= 1e-12
    assert all(0.0 <= p <= 1.0 for p in probabilities.values())
    assert 0.0 < decision.propensity == probabilities[decision.model]
    others = [p for model, p in probabilities.items() if model != decision.best_model]
    assert math.fsum(others) <= share + 1e-12
    assert decide(make_context(), snapshot, seed=seed, now=NOW) == decision


@given(
    rows=st.lists(observations, max_size=20),
    price=st.floats(0.01, 50),
    rise=st.floats(1.01, 10),
)
def test_a_higher_price_never_raises_a_models_utility(
    rows: list[Observation], price: float, rise: float
) -> None:
    learner = LearnerState.empty().fold([replace(r, model=SMALL.id) for r in rows] * 5)
    seen = []
    for factor in (1.0, rise):
        card = replace(SMALL, input_usd_per_mtok=price * factor, output_usd_per_mtok=price * factor)
        # At equal prior quality: a price class is evidence only where there is no other.
        snapshot = make_snapshot(card, learner=learner, quality_value_usd=0.0)
        candidates = decide(make_context(), snapshot, seed=1, now=NOW).candidates
        seen.append(utilities(candidates)[SMALL.id])
    assert seen[1] < seen[0]


@given(
    scores=st.lists(st.floats(-1, 1), min_size=2, max_size=25),
    strategy=STRATEGIES,
    data=st.data(),
)
def test_a_better_action_is_never_less_likely(
    scores: list[float], strategy: str, data: st.DataObject
) -> None:
    best = max(range(len(scores)), key=scores.__getitem__)
    deviation = data.draw(st.floats(0.01, 1))
    found = action_probabilities(
        strategy,  # type: ignore[arg-type]  # drawn from the literal's values
        scores,
        [deviation] * len(scores),
        best,
        scale=1.0,
        epsilon=0.2,
        max_share=1.0,
        allowed=[True] * len(scores),
    )
    assert abs(math.fsum(found) - 1.0) <= 1e-12
    ranked = sorted(range(len(scores)), key=lambda i: scores[i])
    if strategy != "thompson":
        for low, high in itertools.pairwise(ranked):
            if best not in (low, high):
                assert found[low] <= found[high] + 1e-9


@given(
    lines=st.lists(
        st.tuples(
            st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.5])),
            st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25])),
        ),
        min_size=1,
        max_size=25,
    ),
    z=st.floats(0, 2),
)
def test_optimism_is_shared_out_exactly(lines: list[tuple[float, float]], z: float) -> None:
    means, deviations = [m for m, _ in lines], [d for _, d in lines]
    found = optimistic_shares(means, deviations)
    assert min(found) >= 0.0
    assert abs(math.fsum(found) - 1.0) <= 1e-12
    # In order of their deviations the pieces cover [0, 2], so the z-th line must be on top at z.
    reached = 0.0
    for share, (mean, deviation) in sorted(
        zip(found, lines, strict=True), key=lambda item: item[1][1]
    ):
        reached += 2.0 * share
        if share > 0.0 and z <= reached:
            top = max(m + z * d for m, d in lines)
            assert mean + z * deviation >= top - 1e-9
            break


@given(
    weights=st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=1, max_size=20).filter(any),
    seed=st.integers(),
)
def test_an_impossible_action_is_never_drawn(weights: list[float], seed: int) -> None:
    probabilities = [w / math.fsum(weights) for w in weights]
    assert probabilities[draw(probabilities, seed)] > 0


@given(text=st.text(max_size=2000))
def test_every_text_has_the_same_features_twice(text: str) -> None:
    first = featurise(text, None, NOW)
    assert first.tobytes() == featurise(text, None, NOW).tobytes()


@given(
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda w: sum(w) > 0.01),
    start=st.integers(0, 2**62),
)
@settings(max_examples=3)
def test_the_propensity_is_the_sampling_frequency_within_its_error_over_100000_draws(
    weights: list[float], start: int
) -> None:
    probabilities = [w / math.fsum(weights) for w in weights]
    counts = Counter(draw(probabilities, seed) for seed in range(start, start + 100_000))
    for index, p in enumerate(probabilities):
        error = 4.5 * math.sqrt(p * (1.0 - p) / 100_000) + 1e-12
        assert abs(counts[index] / 100_000 - p) <= error


@given(
    text=st.sampled_from(
        ["", " ", "\x00", "🔥👩‍👩‍👧‍👦" * 9, "안녕하세요 " * 30, "x" * 200_000, "\ud800"]
    )
    | st.text(max_size=300),
    rows=st.lists(feedbacks, max_size=15),
    strategy=STRATEGIES,
)
def test_any_prompt_is_decided_with_whole_probabilities_even_where_no_price_is_known(
    text: str, rows: list[Observation], strategy: str
) -> None:
    unpriced = [ModelCard(model, None, None, 1_000_000) for model in MODELS]
    snapshot = make_snapshot(*unpriced, learner=LearnerState.empty().fold(rows), strategy=strategy)
    decision = decide(make_context(text, task_type=None), snapshot, seed=3, now=NOW)
    assert abs(math.fsum(c.probability for c in decision.candidates) - 1.0) <= 1e-12
    for candidate in decision.candidates:
        assert candidate.quality is not None and 0.0 <= candidate.quality <= 1.0
        assert candidate.cost_usd is not None and candidate.cost_usd > 0.0
        assert "price unknown" in candidate.flags
