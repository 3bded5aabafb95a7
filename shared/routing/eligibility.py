"""Who may be chosen at all: hard constraints, with the reason for every removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.routing.types import Context, LevelPolicy, ModelCard


class Removal(NamedTuple):
    """One reason why one model is not eligible; ``constraint`` names what to relax."""

    constraint: str
    reason: str


class NoEligibleModelError(ValueError):
    """No model satisfies every constraint.

    Attributes
    ----------
    constraint
        The one constraint that readmits most models when it alone is relaxed; where no single
        one does, the most frequent.
    reasons
        For every model, why it was removed.
    """

    def __init__(self, removals: Mapping[str, Sequence[Removal]]) -> None:
        self.constraint = _to_relax(removals)
        self.reasons: dict[str, tuple[str, ...]] = {
            model: tuple(removal.reason for removal in found) for model, found in removals.items()
        }
        if removals:
            message = f"no model is eligible: relax {self.constraint}"
        else:
            message = "no model is eligible: none is registered"
        super().__init__(message)


def removals_before_prediction(
    card: ModelCard, context: Context, policy: LevelPolicy
) -> tuple[Removal, ...]:
    """Return every constraint that ``card`` breaks and that needs no prediction."""
    wanted = context.constraints
    found: list[Removal] = []
    if not card.enabled:
        found.append(Removal("enabled", "disabled"))
    if card.health == "down":
        found.append(Removal("health", "down"))
    if policy.models is not None and card.id not in policy.models:
        found.append(Removal("policy models", "not a candidate of this level"))
    if wanted.models_allowed is not None and card.id not in wanted.models_allowed:
        found.append(Removal("models_allowed", "not on the caller's allow list"))
    if card.id in wanted.models_denied:
        found.append(Removal("models_denied", "on the caller's deny list"))
    missing = context.modalities - card.modalities
    if missing:
        found.append(Removal("modalities", f"does not take {', '.join(sorted(missing))}"))
    if wanted.region is not None and card.region != wanted.region:
        found.append(
            Removal("region", f"region is {card.region or 'unknown'}, not {wanted.region}")
        )
    if wanted.min_context_tokens is not None and card.context_tokens < wanted.min_context_tokens:
        found.append(
            Removal(
                "min_context_tokens",
                f"context of {card.context_tokens} tokens is below {wanted.min_context_tokens}",
            )
        )
    needed = context.tokens_in + (context.max_tokens_out or 1)
    if needed > card.context_tokens:
        found.append(
            Removal(
                "context length", f"needs {needed} tokens, its context holds {card.context_tokens}"
            )
        )
    if (
        context.max_tokens_out is not None
        and card.max_tokens_out is not None
        and context.max_tokens_out > card.max_tokens_out
    ):
        found.append(
            Removal(
                "max_tokens_out",
                f"answers at most {card.max_tokens_out} tokens, {context.max_tokens_out} asked",
            )
        )
    return tuple(found)


def removals_after_prediction(
    cost_usd: float, latency_ms: float, price_known: bool, context: Context
) -> tuple[Removal, ...]:
    """Return the limits on expected cost and latency that a prediction breaks.

    A model without a known price is never within a cost limit: a stand-in is no promise.
    """
    wanted = context.constraints
    found: list[Removal] = []
    if wanted.max_cost_usd is not None:
        if not price_known:
            found.append(Removal("max_cost_usd", "price unknown, so the limit cannot be kept"))
        elif cost_usd > wanted.max_cost_usd:
            found.append(
                Removal(
                    "max_cost_usd",
                    f"expected cost ${cost_usd:.6f} exceeds ${wanted.max_cost_usd:.6f}",
                )
            )
    if wanted.max_latency_ms is not None and latency_ms > wanted.max_latency_ms:
        found.append(
            Removal(
                "max_latency_ms",
                f"expected latency {latency_ms:.0f} ms exceeds {wanted.max_latency_ms:.0f} ms",
            )
        )
    return tuple(found)


def _to_relax(removals: Mapping[str, Sequence[Removal]]) -> str:
    if not removals:
        return "models"
    sole: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for found in removals.values():
        names = {removal.constraint for removal in found}
        every.update(names)
        if len(names) == 1:
            sole.update(names)
    counts = sole or every
    return min(counts, key=lambda name: (-counts[name], name))
