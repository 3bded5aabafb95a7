"""Choose one model for one request, with the exact probability of every choice.

The way of a decision: level -> eligibility -> prediction -> utility in dollars -> guard ->
exploration wallet -> probabilities -> one draw -> explanation. Pure: the same context, snapshot,
seed and instant give the identical decision, field for field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

from shared.routing.arrays import FloatArray
from shared.routing.caution import curiosity, guard_deviations
from shared.routing.eligibility import (
    NoEligibleModelError,
    Removal,
    removals_after_prediction,
    removals_before_prediction,
)
from shared.routing.explain import Option, margin_between, why_sentence
from shared.routing.features import (
    FEATURES_VERSION,
    N_TEXT_FEATURES,
    text_features,
    with_level_and_time,
)
from shared.routing.learner import Prediction
from shared.routing.levels import LevelSource, choose_level
from shared.routing.prices import prices_of
from shared.routing.strategies import action_probabilities, draw
from shared.routing.types import (
    Candidate,
    Context,
    Decision,
    Level,
    LevelPolicy,
    Margin,
    ModelCard,
    Snapshot,
)

__all__ = ["ROUTER_VERSION", "NoEligibleModelError", "decide", "replay"]

# Raised with every change of what is decided from the same context and snapshot. Decisions store
# it, as only the version that made one can recompute it.
ROUTER_VERSION: Final = 3

# A degraded upstream fails more often than its record says.
DEGRADED_QUALITY_FACTOR: Final = 0.8
# How much more a second counts for an urgent request, and less for a patient one.
PRIORITY_LATENCY_FACTOR: Final = {"low": 0.5, "normal": 1.0, "high": 2.0}


class _Scored(NamedTuple):
    card: ModelCard
    prediction: Prediction
    quality: float
    utility_usd: float
    fixed_utility_usd: float


def decide(context: Context, snapshot: Snapshot, *, seed: int, now: datetime) -> Decision:
    """Choose a model for ``context``.

    Parameters
    ----------
    context
        What is known of the request. Its text is read for features only.
    snapshot
        Policy version, models, learner state and what exploration has spent today.
    seed
        Any integer; the only source of chance. Store it with the decision.
    now
        Aware instant; enters through the time of day.

    Returns
    -------
    Decision
        ``propensity`` is the probability by which ``model`` was drawn; the probabilities of all
        candidates sum to 1 within 1e-12.

    Raises
    ------
    NoEligibleModelError
        If no model satisfies every constraint; names the constraint to relax.
    ValueError
        If ``now`` is naive or ``tokens_in`` is negative.
    """
    return _decide(context, snapshot, text_features(context.text), seed=seed, now=now)


def replay(
    context: Context,
    snapshot: Snapshot,
    features: Sequence[float],
    *,
    seed: int,
    now: datetime,
) -> Decision:
    """Recompute a stored decision from its stored features, without the prompt.

    ``context`` may have an empty text; everything else, the snapshot, seed and instant must be
    those of the decision. The result is identical to the original, field for field.

    Raises
    ------
    ValueError
        If ``features`` is not a vector of this version's length.
    """
    vector = np.asarray(features, dtype=np.float64)
    if vector.ndim != 1 or vector.size < N_TEXT_FEATURES:
        raise ValueError(
            f"stored features have {vector.size} values, version {FEATURES_VERSION} needs at "
            f"least {N_TEXT_FEATURES}: replay with the release that decided"
        )
    return _decide(context, snapshot, vector[:N_TEXT_FEATURES], seed=seed, now=now)


def _decide(
    context: Context, snapshot: Snapshot, text_part: FloatArray, *, seed: int, now: datetime
) -> Decision:
    if context.tokens_in < 0:
        raise ValueError(f"tokens_in must not be negative, got {context.tokens_in}")
    level, confidence, source = choose_level(context, snapshot.policy, text_part)
    policy = snapshot.policy.levels[level]
    features = with_level_and_time(text_part, level, now)

    scored, removed = _predict_eligible(context, snapshot, policy, level, features)
    if not scored:
        raise NoEligibleModelError(removed)
    fixed = _fixed_index(scored, policy)
    value = policy.quality_value_usd
    options = _guarded(scored, fixed, value)
    order = sorted(range(len(options)), key=lambda i: _rank(options[i]))
    best = order[0]
    deviations = [value * s.prediction.quality_sd * curiosity(s.prediction.n) for s in scored]

    regrets = [max(0.0, scored[best].utility_usd - s.utility_usd) for s in scored]
    allowed, wallet_note = _wallet(regrets, best, snapshot, policy, level)
    probabilities = action_probabilities(
        policy.strategy,
        [s.utility_usd for s in scored],
        deviations,
        best,
        scale=value,
        epsilon=policy.epsilon,
        max_share=policy.max_exploration_share,
        allowed=allowed,
    )
    chosen = draw(probabilities, seed)

    runner_up = order[1] if len(order) > 1 else None
    notes = [wallet_note] if wallet_note else []
    if context.previous_model == scored[chosen].card.id and policy.switching_cost_usd > 0:
        notes.append("it served this session before and no gain pays for switching")
    return Decision(
        model=scored[chosen].card.id,
        propensity=probabilities[chosen],
        level=level,
        level_confidence=confidence,
        level_source=source,
        strategy=policy.strategy,
        explored=chosen != best,
        candidates=_candidates(snapshot.models, scored, probabilities, removed),
        fallbacks=_fallbacks(policy, scored, order, chosen),
        features=tuple(features.tolist()),
        why=why_sentence(
            options[chosen],
            options[best],
            None if runner_up is None else options[runner_up],
            fixed_model=scored[fixed].card.id,
            place=_place(level, source, context.task_type),
            propensity=probabilities[chosen],
            notes=notes,
        ),
        margin=_margin(options, best, runner_up, value),
        best_model=scored[best].card.id,
        fixed_model=scored[fixed].card.id,
        exploration_cost_usd=regrets[chosen] if chosen != best else 0.0,
        features_version=FEATURES_VERSION,
    )


def _predict_eligible(
    context: Context,
    snapshot: Snapshot,
    policy: LevelPolicy,
    level: Level,
    features: FloatArray,
) -> tuple[list[_Scored], dict[str, tuple[Removal, ...]]]:
    """Remove, predict, remove by prediction; the survivors with their utility."""
    removed: dict[str, tuple[Removal, ...]] = {}
    survivors: list[ModelCard] = []
    for card in snapshot.models:
        found = removals_before_prediction(card, context, policy)
        if found:
            removed[card.id] = found
        else:
            survivors.append(card)
    predictions = snapshot.learner.predict(
        features,
        level=level,
        task_type=context.task_type,
        tokens_in=context.tokens_in,
        max_tokens_out=context.max_tokens_out,
        models=survivors,
        prices=prices_of(snapshot.models),
    )
    second_usd = policy.latency_cost_usd_per_s * PRIORITY_LATENCY_FACTOR[context.priority]
    scored: list[_Scored] = []
    for card, prediction in zip(survivors, predictions, strict=True):
        found = removals_after_prediction(
            prediction.cost_usd, prediction.latency_ms, prediction.price_known, context
        )
        if found:
            removed[card.id] = found
            continue
        factor = DEGRADED_QUALITY_FACTOR if card.health == "degraded" else 1.0
        spent = prediction.cost_usd + prediction.latency_ms / 1000.0 * second_usd
        if context.previous_model is not None and context.previous_model != card.id:
            spent += policy.switching_cost_usd
        quality = prediction.quality * factor
        scored.append(
            _Scored(
                card,
                prediction,
                quality,
                quality * policy.quality_value_usd - spent,
                prediction.quality_level * factor * policy.quality_value_usd - spent,
            )
        )
    if context.previous_model is not None and not any(
        s.card.id == context.previous_model for s in scored
    ):
        # The warm model is gone: everyone pays the switch, so nobody's utility should carry it.
        scored = [
            s._replace(
                utility_usd=s.utility_usd + policy.switching_cost_usd,
                fixed_utility_usd=s.fixed_utility_usd + policy.switching_cost_usd,
            )
            for s in scored
        ]
    return scored, removed


def _fixed_index(scored: Sequence[_Scored], policy: LevelPolicy) -> int:
    """Return the model served while nothing has cleared it: primary, fallback, or by evidence."""
    index = {s.card.id: i for i, s in enumerate(scored)}
    for model in (policy.primary, *policy.fallbacks) if policy.primary is not None else ():
        if model in index:
            return index[model]
    return min(
        range(len(scored)),
        key=lambda i: (
            -scored[i].fixed_utility_usd,
            scored[i].prediction.cost_usd,
            scored[i].card.id,
        ),
    )


def _guarded(scored: Sequence[_Scored], fixed: int, value: float) -> list[Option]:
    """Lower the quality of every model but the fixed one to what the evidence supports."""
    reference = scored[fixed].prediction.quality_sd
    options: list[Option] = []
    for i, s in enumerate(scored):
        doubt = 0.0
        if i != fixed:
            doubt = guard_deviations(s.prediction.n) * math.hypot(
                s.prediction.quality_sd, reference
            )
        quality = max(0.0, s.quality - doubt)
        options.append(
            Option(
                s.card.id,
                quality,
                s.prediction.cost_usd,
                s.prediction.latency_ms / 1000.0,
                s.utility_usd - value * (s.quality - quality),
            )
        )
    return options


def _rank(option: Option) -> tuple[float, float, str]:
    return (-option.score_usd, option.cost_usd, option.model)


def _wallet(
    regrets: Sequence[float],
    best: int,
    snapshot: Snapshot,
    policy: LevelPolicy,
    level: Level,
) -> tuple[list[bool], str | None]:
    """Return what exploration can still pay for today, and what to say where it cannot."""
    limit = policy.max_exploration_usd_per_day
    if limit is None or policy.strategy == "greedy":
        return [True] * len(regrets), None
    left = limit - snapshot.exploration_spent_usd.get(level, 0.0)
    if left <= 0.0:
        return (
            [i == best for i in range(len(regrets))],
            f"today's exploration budget of ${limit:.2f} is spent, so nothing is explored",
        )
    return [regret <= left for regret in regrets], None


def _fallbacks(
    policy: LevelPolicy, scored: Sequence[_Scored], order: Sequence[int], chosen: int
) -> tuple[str, ...]:
    eligible = {s.card.id for s in scored}
    by_utility = [scored[i].card.id for i in order]
    wanted = [model for model in policy.fallbacks if model in eligible]
    ranked = dict.fromkeys([*wanted, *by_utility])
    ranked.pop(scored[chosen].card.id, None)
    return tuple(ranked)


def _margin(
    options: Sequence[Option], best: int, runner_up: int | None, value: float
) -> Margin | None:
    if runner_up is None:
        return None
    return margin_between(options[best], options[runner_up], quality_value_usd=value)


def _candidates(
    models: Sequence[ModelCard],
    scored: Sequence[_Scored],
    probabilities: Sequence[float],
    removed: dict[str, tuple[Removal, ...]],
) -> tuple[Candidate, ...]:
    """Describe every registered model in the registry's order."""
    by_id = {s.card.id: (s, p) for s, p in zip(scored, probabilities, strict=True)}
    found: list[Candidate] = []
    for card in models:
        if card.id in by_id:
            s, probability = by_id[card.id]
            found.append(
                Candidate(
                    card.id, s.quality, s.prediction.quality_sd, s.prediction.cost_usd,
                    s.prediction.latency_ms, s.utility_usd, probability, eligible=True,
                    flags=_flags(s),
                )
            )  # fmt: skip
        else:
            reasons = "; ".join(removal.reason for removal in removed[card.id])
            found.append(Candidate(card.id, None, None, None, None, None, 0.0, False, reasons))
    return tuple(found)


def _flags(s: _Scored) -> tuple[str, ...]:
    flags = []
    if not s.prediction.price_known:
        flags.append("price unknown")
    if s.prediction.n == 0:
        flags.append("no feedback yet")
    if s.card.health == "degraded":
        flags.append("degraded")
    return tuple(flags)


def _place(level: Level, source: LevelSource, task: str | None) -> str:
    said = {
        "caller": "set by the caller",
        "task": f"task {task}",
        "classifier": "by its text",
        "default": "the default level",
    }
    return f"{level} ({said[source]})"
