"""Why this model, who came second, and what would have to change for it to win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shared.routing.types import Margin


class Option(NamedTuple):
    """One eligible action as it was compared.

    ``quality`` is the quality it was compared by: the prediction, lowered by the guard where the
    evidence against the fixed model is thin. ``score_usd`` is the utility at that quality.
    """

    model: str
    quality: float
    cost_usd: float
    latency_s: float
    score_usd: float


def margin_between(best: Option, runner_up: Option, *, quality_value_usd: float) -> Margin:
    """Return the smallest single change that would make ``runner_up`` the best choice.

    Three changes are tried: the runner-up's quality rises, its cost falls, or the worth of a
    right answer moves. They have different units, so "smallest" compares each with the present
    value of what changes. Exactly at the amount the two are level.
    """
    gap = max(0.0, best.score_usd - runner_up.score_usd)
    changes: list[tuple[float, str, float]] = []
    if quality_value_usd > 0:
        rise = gap / quality_value_usd
        if runner_up.quality + rise <= 1.0:
            changes.append((rise / max(runner_up.quality, 1e-9), "quality", rise))
    if runner_up.cost_usd >= gap and runner_up.cost_usd > 0:
        changes.append((gap / runner_up.cost_usd, "cost_usd", -gap))
    advantage = best.quality - runner_up.quality
    if advantage != 0.0:
        move = -gap / advantage
        if quality_value_usd + move >= 0.0:
            size = abs(move) / max(quality_value_usd, 1e-12)
            changes.append((size, "quality_value_usd", move))
    if not changes:
        # Only reachable where quality is worth nothing and the runner-up costs too little to
        # catch up: its latency or switching cost decides, and no single listed change flips it.
        changes.append((0.0, "cost_usd", -gap))
    _, change, amount = min(changes)
    return Margin(runner_up.model, gap, change, amount)


def why_sentence(
    chosen: Option,
    best: Option,
    runner_up: Option | None,
    *,
    fixed_model: str,
    place: str,
    propensity: float,
    notes: Sequence[str],
) -> str:
    """Say in one plain sentence why ``chosen`` serves the request.

    ``place`` names the level and task; ``notes`` are facts that changed the choice, such as a
    spent wallet, and are appended.
    """
    facts = f"predicted quality {chosen.quality:.2f} at ${chosen.cost_usd:.6f}"
    if runner_up is None:
        text = f"Only {chosen.model} is eligible for {place} ({facts})"
    elif chosen.model != best.model:
        text = (
            f"Exploring {chosen.model} for {place} with probability {propensity:.3f} to learn its "
            f"quality; {best.model} is the best known"
        )
    elif best.model == fixed_model:
        text = (
            f"Serving {chosen.model} for {place} ({facts}): no other model has cleared this fixed "
            f"choice, {runner_up.model} comes closest at ${_gap(best, runner_up):.6f} behind"
        )
    else:
        text = (
            f"Chose {chosen.model} for {place} ({facts}): worth ${_gap(best, runner_up):.6f} more "
            f"than {runner_up.model}, and clear of the fixed choice {fixed_model}"
        )
    return text + "".join(f"; {note}" for note in notes) + "."


def _gap(best: Option, runner_up: Option) -> float:
    return max(0.0, best.score_usd - runner_up.score_usd)
