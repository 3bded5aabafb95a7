from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from shared.routing.decide import decide, replay
from shared.routing.eligibility import NoEligibleModelError
from shared.routing.learner import LearnerState
from shared.routing.types import Constraints, ModelCard, Strategy
from tests.unit.routing.scenes import (
    LARGE,
    MIDDLE,
    NOW,
    SMALL,
    make_context,
    make_feedback,
    make_snapshot,
)

STRATEGIES: tuple[Strategy, ...] = ("greedy", "epsilon_greedy", "inverse_gap", "thompson")


def taught(small: float, middle: float, large: float, n: int = 100) -> LearnerState:
    rows = [
        make_feedback(model, quality)
        for model, share in ((SMALL.id, small), (MIDDLE.id, middle), (LARGE.id, large))
        for quality in [1.0] * round(share * n) + [0.0] * (n - round(share * n))
    ]
    return LearnerState.empty().fold(rows)


class TestLevel:
    def test_the_caller_decides_first(self) -> None:
        decision = decide(make_context(level="L4"), make_snapshot(), seed=1, now=NOW)
        assert (decision.level, decision.level_source) == ("L4", "caller")

    def test_then_the_task_by_the_policy(self) -> None:
        decision = decide(make_context(), make_snapshot(), seed=1, now=NOW)
        assert (decision.level, decision.level_source) == ("L3", "task")

    def test_then_the_text(self) -> None:
        code = "Write a python function `def merge(a, b)` that merges two sorted lists."
        quiz = "Who wrote Hamlet?"
        snapshot = make_snapshot()
        found = [
            decide(make_context(text, task_type=None), snapshot, seed=1, now=NOW).level
            for text in (code, quiz)
        ]
        assert found == ["L4", "L1"]

    def test_an_unsure_classifier_leaves_it_to_the_policy(self) -> None:
        snapshot = make_snapshot()
        snapshot = replace(snapshot, policy=replace(snapshot.policy, min_level_confidence=1.0))
        decision = decide(make_context(task_type=None), snapshot, seed=1, now=NOW)
        assert (decision.level, decision.level_source) == ("L2", "default")


class TestEligibility:
    def test_every_removed_model_says_why(self) -> None:
        cards = (
            SMALL,
            replace(MIDDLE, health="down"),
            replace(LARGE, enabled=False, region="us"),
        )
        context = make_context(constraints=Constraints(region=None))
        decision = decide(context, make_snapshot(*cards), seed=1, now=NOW)
        assert decision.model == SMALL.id
        assert decision.propensity == 1.0
        assert [c.why_not for c in decision.candidates] == [None, "down", "disabled"]

    def test_an_empty_action_set_names_the_constraint_to_relax(self) -> None:
        constraints = Constraints(max_cost_usd=1e-12, models_denied=frozenset({LARGE.id}))
        with pytest.raises(NoEligibleModelError, match="max_cost_usd") as caught:
            decide(make_context(constraints=constraints), make_snapshot(), seed=1, now=NOW)
        assert caught.value.constraint == "max_cost_usd"
        assert set(caught.value.reasons) == {SMALL.id, MIDDLE.id, LARGE.id}

    def test_no_registered_model_is_an_error_of_its_own(self) -> None:
        snapshot = replace(make_snapshot(), models=())
        with pytest.raises(NoEligibleModelError, match="none is registered"):
            decide(make_context(), snapshot, seed=1, now=NOW)

    @pytest.mark.parametrize(
        ("constraints", "survivor"),
        [
            (Constraints(models_allowed=frozenset({MIDDLE.id})), MIDDLE.id),
            (Constraints(models_denied=frozenset({SMALL.id, MIDDLE.id})), LARGE.id),
            (Constraints(min_context_tokens=100_000), LARGE.id),
            (Constraints(max_cost_usd=0.00005), SMALL.id),
        ],
    )
    def test_hard_constraints_remove_models(self, constraints: Constraints, survivor: str) -> None:
        context = make_context(constraints=constraints)
        assert decide(context, make_snapshot(), seed=3, now=NOW).model == survivor

    def test_a_prompt_that_does_not_fit_removes_the_model(self) -> None:
        context = make_context(tokens_in=8192)
        decision = decide(context, make_snapshot(), seed=1, now=NOW)
        assert not decision.candidates[0].eligible

    def test_a_picture_needs_a_model_that_sees(self) -> None:
        sees = replace(LARGE, modalities=frozenset({"text", "image"}))
        context = make_context(modalities=frozenset({"text", "image"}))
        assert decide(context, make_snapshot(SMALL, sees), seed=1, now=NOW).model == sees.id

    def test_an_unknown_price_cannot_keep_a_cost_limit_but_is_flagged_without_one(self) -> None:
        stranger = ModelCard("replay/stranger", None, None, 8192)
        snapshot = make_snapshot(SMALL, stranger)
        limited = make_context(constraints=Constraints(max_cost_usd=1.0))
        assert not decide(limited, snapshot, seed=1, now=NOW).candidates[1].eligible
        free = decide(make_context(), snapshot, seed=1, now=NOW).candidates[1]
        assert free.eligible
        assert "price unknown" in free.flags
        assert free.cost_usd is not None
        assert free.cost_usd > 0


class TestChoice:
    def test_greedy_takes_the_best_utility_once_the_evidence_clears_the_fixed_model(self) -> None:
        snapshot = make_snapshot(learner=taught(0.2, 0.9, 0.9), strategy="greedy", primary=SMALL.id)
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        assert decision.model == MIDDLE.id
        assert not decision.explored
        assert "clear of the fixed choice replay/small" in decision.why

    def test_without_evidence_the_primary_is_served(self) -> None:
        for primary in (SMALL.id, MIDDLE.id, LARGE.id):
            snapshot = make_snapshot(strategy="greedy", primary=primary)
            assert decide(make_context(), snapshot, seed=1, now=NOW).model == primary

    def test_thin_evidence_does_not_clear_the_primary(self) -> None:
        learner = LearnerState.empty().fold([make_feedback(MIDDLE.id, 1.0)] * 2)
        snapshot = make_snapshot(learner=learner, strategy="greedy", primary=SMALL.id)
        assert decide(make_context(), snapshot, seed=1, now=NOW).model == SMALL.id

    def test_what_an_answer_is_worth_decides_between_cheap_and_good(self) -> None:
        learner = taught(0.5, 0.5, 0.95)
        cheap = make_snapshot(learner=learner, strategy="greedy", quality_value_usd=0.001)
        dear = make_snapshot(learner=learner, strategy="greedy", quality_value_usd=1.0)
        assert decide(make_context(), cheap, seed=1, now=NOW).model != LARGE.id
        assert decide(make_context(), dear, seed=1, now=NOW).model == LARGE.id

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_the_propensity_is_how_often_it_is_drawn(self, strategy: Strategy) -> None:
        learner = taught(0.6, 0.7, 0.75, n=20)
        snapshot = make_snapshot(learner=learner, strategy=strategy, epsilon=0.3)
        decisions = [decide(make_context(), snapshot, seed=s, now=NOW) for s in range(4000)]
        counts = Counter(d.model for d in decisions)
        for candidate in decisions[0].candidates:
            p = candidate.probability
            error = 4.0 * (p * (1 - p) / 4000) ** 0.5
            assert counts[candidate.model] / 4000 == pytest.approx(p, abs=error + 1e-12)
        for decision in decisions:
            chosen = next(c for c in decision.candidates if c.model == decision.model)
            assert decision.propensity == chosen.probability

    def test_epsilon_is_spread_over_all_candidates(self) -> None:
        decision = decide(
            make_context(), make_snapshot(strategy="epsilon_greedy", epsilon=0.3), seed=1, now=NOW
        )
        probabilities = sorted(c.probability for c in decision.candidates)
        assert probabilities == pytest.approx([0.1, 0.1, 0.8])

    def test_exploring_is_said_and_priced(self) -> None:
        snapshot = make_snapshot(
            learner=taught(0.2, 0.9, 0.9), strategy="epsilon_greedy", epsilon=0.9
        )
        explored = [
            d
            for seed in range(50)
            if (d := decide(make_context(), snapshot, seed=seed, now=NOW)).explored
        ]
        assert explored
        assert all(d.exploration_cost_usd >= 0 for d in explored)
        assert all(d.why.startswith("Exploring") and d.best_model in d.why for d in explored)


class TestWallet:
    def test_the_share_of_exploration_is_capped(self) -> None:
        snapshot = make_snapshot(strategy="epsilon_greedy", epsilon=0.9, max_exploration_share=0.05)
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        others = [c.probability for c in decision.candidates if c.model != decision.best_model]
        assert sum(others) == pytest.approx(0.05)

    def test_a_spent_wallet_makes_the_policy_greedy_and_says_so(self) -> None:
        snapshot = make_snapshot(
            strategy="epsilon_greedy", epsilon=0.9, max_exploration_usd_per_day=1.0
        )
        snapshot = replace(snapshot, exploration_spent_usd={"L3": 1.0})
        for seed in range(50):
            decision = decide(make_context(), snapshot, seed=seed, now=NOW)
            assert decision.propensity == 1.0
            assert not decision.explored
        assert "exploration budget of $1.00 is spent" in decision.why

    def test_what_is_left_is_never_overdrawn(self) -> None:
        learner = taught(0.9, 0.9, 0.1)
        snapshot = make_snapshot(learner=learner, epsilon=0.9, max_exploration_usd_per_day=0.005)
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        assert decision.candidates[2].probability == 0.0
        assert max(decision.exploration_cost_usd, 0.0) <= 0.005


class TestAffinity:
    def test_a_session_stays_unless_the_gain_pays_for_switching(self) -> None:
        learner = taught(0.6, 0.7, 0.6)
        stay = make_snapshot(learner=learner, strategy="greedy", switching_cost_usd=0.01)
        go = make_snapshot(learner=learner, strategy="greedy", switching_cost_usd=0.0)
        context = make_context(previous_model=SMALL.id)
        assert decide(context, go, seed=1, now=NOW).model == MIDDLE.id
        kept = decide(context, stay, seed=1, now=NOW)
        assert kept.model == SMALL.id
        assert "served this session before" in kept.why

    def test_a_previous_model_that_is_gone_costs_nobody(self) -> None:
        snapshot = make_snapshot(strategy="greedy", switching_cost_usd=0.01)
        context = make_context()
        gone = replace(context, previous_model="replay/removed")
        assert decide(gone, snapshot, seed=1, now=NOW) == decide(context, snapshot, seed=1, now=NOW)


class TestFallbacks:
    def test_they_follow_by_utility(self) -> None:
        snapshot = make_snapshot(learner=taught(0.1, 0.9, 0.5), strategy="greedy")
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        assert decision.model == MIDDLE.id
        assert set(decision.fallbacks) == {SMALL.id, LARGE.id}

    def test_the_policys_come_first(self) -> None:
        snapshot = make_snapshot(
            learner=taught(0.1, 0.9, 0.5), strategy="greedy", fallbacks=(SMALL.id, "unknown")
        )
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        assert decision.fallbacks == (SMALL.id, LARGE.id)


class TestMargin:
    @pytest.mark.parametrize("qualities", [(0.6, 0.7, 0.9), (0.9, 0.5, 0.2), (0.5, 0.9, 0.95)])
    def test_a_little_more_than_the_margin_flips_the_choice(
        self, qualities: tuple[float, float, float]
    ) -> None:
        snapshot = make_snapshot(learner=taught(*qualities, n=400), strategy="greedy")
        decision = decide(make_context(), snapshot, seed=1, now=NOW)
        margin = decision.margin
        assert margin is not None
        assert margin.runner_up != decision.model
        assert margin.gap_usd >= 0
        if margin.change == "quality_value_usd":
            value = 0.01 + margin.amount * 1.001
            changed = make_snapshot(
                learner=snapshot.learner,
                strategy="greedy",
                quality_value_usd=value,
                primary=decision.fixed_model,
            )
            assert decide(make_context(), changed, seed=1, now=NOW).model == margin.runner_up

    def test_a_single_candidate_has_none(self) -> None:
        assert decide(make_context(), make_snapshot(SMALL), seed=1, now=NOW).margin is None


class TestReplay:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_the_same_inputs_give_the_identical_decision(self, strategy: Strategy) -> None:
        snapshot = make_snapshot(learner=taught(0.6, 0.7, 0.75), strategy=strategy)
        first = decide(make_context(), snapshot, seed=11, now=NOW)
        assert decide(make_context(), snapshot, seed=11, now=NOW) == first

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_stored_decision_is_recomputed_without_its_prompt(self, strategy: Strategy) -> None:
        context = make_context("Write a haiku about databases", task_type=None)
        snapshot = make_snapshot(learner=taught(0.6, 0.7, 0.75), strategy=strategy)
        first = decide(context, snapshot, seed=11, now=NOW)
        again = replay(replace(context, text=""), snapshot, first.features, seed=11, now=NOW)
        assert again == first

    def test_features_of_another_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="replay with the release"):
            replay(make_context(), make_snapshot(), (1.0, 2.0), seed=1, now=NOW)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        decide(make_context(), make_snapshot(), seed=1, now=datetime(2026, 1, 1))


def test_the_types_do_not_import_numpy() -> None:
    script = "import sys, shared.routing.types; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
