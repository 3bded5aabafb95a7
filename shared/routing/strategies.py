"""From scores to the probability of every action, and one draw from it.

The vector is computed first and the action drawn from it, so the stored propensity is the
probability by which the draw was made, not an estimate of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from shared.routing.types import Strategy

_MASK = (1 << 64) - 1
# Thompson: how many deviations of optimism are drawn at most; and a share that all actions divide
# among them whatever is known, so that every one can be evaluated later.
_MOST_OPTIMISM: Final = 2.0
_SHARE_OF_ALL: Final = 0.002
_SQUARE_CB_GAMMA: Final = 40.0


def action_probabilities(
    strategy: Strategy,
    scores: Sequence[float],
    deviations: Sequence[float],
    best: int,
    *,
    scale: float,
    epsilon: float,
    max_share: float,
    allowed: Sequence[bool],
) -> list[float]:
    """Compute the probability of every action.

    Parameters
    ----------
    strategy
        ``greedy``, ``epsilon_greedy``, ``inverse_gap`` (SquareCB) or ``thompson`` (with one draw
        for all actions, see ``optimistic_shares``).
    scores, deviations
        Expected utility per action, and the standard deviation that Thompson sampling draws with,
        in dollars.
    best
        Index of the action that greedy takes.
    scale
        Dollars that one unit of quality is worth; makes gaps dimensionless.
    epsilon
        Share drawn uniformly over all actions (epsilon_greedy only).
    max_share
        Largest total probability of the actions other than ``best``.
    allowed
        Whether exploration may take the action (the wallet); ``best`` is always allowed.

    Returns
    -------
    list of float
        In [0, 1], summing to 1 within 1e-12.

    References
    ----------
    Foster, D. and Rakhlin, A. (2020). "Beyond UCB: Optimal and Efficient Contextual Bandits with
    Regression Oracles." ICML. Section 3: ``1 / (K + gamma * gap)``.
    """
    n = len(scores)
    if n == 1 or strategy == "greedy":
        raw = [0.0] * n
    elif strategy == "epsilon_greedy":
        raw = [epsilon / n] * n
    elif strategy == "inverse_gap":
        unit = scale if scale > 0 else 1.0
        raw = [
            1.0 / (n + _SQUARE_CB_GAMMA * max(0.0, (scores[best] - score) / unit))
            for score in scores
        ]
    else:
        raw = [
            _SHARE_OF_ALL / n + (1.0 - _SHARE_OF_ALL) * p
            for p in optimistic_shares(scores, deviations)
        ]
    explore = [p if i != best and allowed[i] else 0.0 for i, p in enumerate(raw)]
    share = math.fsum(explore)
    limit = min(1.0, max(0.0, max_share))
    if share > limit:
        explore = [p * (limit / share) for p in explore]
    explore[best] = max(0.0, 1.0 - math.fsum(explore))
    return explore


def draw(probabilities: Sequence[float], seed: int) -> int:
    """Return the index drawn by ``seed``; an action of probability 0 is never drawn."""
    point = uniform(seed)
    total = 0.0
    last = 0
    for index, p in enumerate(probabilities):
        if p <= 0.0:
            continue
        total += p
        last = index
        if point < total:
            return index
    return last


def uniform(seed: int) -> float:
    """Map a seed to [0, 1) (splitmix64), the same in every process and version."""
    z = (seed + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def optimistic_shares(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Return P(action i has the largest ``mean + z * deviation``), z uniform; sums to 1.

    One z serves all actions, so an action wins where its line is the upper envelope of all lines,
    and its probability is the length of that piece: exact, in O(n_actions * pieces). Identical
    lines share.

    References
    ----------
    Vaswani, S. et al. (2020). "Old Dog Learns New Tricks: Randomized UCB for Bandit Problems."
    AISTATS.
    """
    lines = list(zip(means, deviations, strict=True))
    found = dict.fromkeys(lines, 0.0)
    top, start = max(lines), 0.0
    while start < _MOST_OPTIMISM:
        end, following = _MOST_OPTIMISM, top
        for line in found:
            steeper = line[1] - top[1]
            if steeper > 0.0:
                crossing = max(start, (top[0] - line[0]) / steeper)
                if (crossing, -line[1]) < (end, -following[1]):
                    end, following = crossing, line
        found[top] = (end - start) / _MOST_OPTIMISM
        top, start = following, end
    return [found[line] / lines.count(line) for line in lines]
