"""From scores to the probability of every action, and one draw from it.

The vector is computed first and the action drawn from it, so the stored propensity is the
probability by which the draw was made, not an estimate of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from shared.routing.types import Strategy

_MASK = (1 << 64) - 1
# Thompson: probability of being best by quadrature over this many points; a floor keeps every
# action evaluable later.
_NODES: Final = 32
_REACH: Final = 4.5
_SQRT_HALF: Final = 0.7071067811865476
_THOMPSON_FLOOR: Final = 0.0005
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
        ``greedy``, ``epsilon_greedy``, ``inverse_gap`` (SquareCB) or ``thompson``.
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
            max(_THOMPSON_FLOOR, p) if i != best else p
            for i, p in enumerate(probability_best(scores, deviations))
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


def probability_best(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Return P(action i is best) for independent normal utilities; sums to 1.

    The integral of ``pdf_i(x) * prod_j cdf_j(x)`` by the midpoint rule: what Thompson sampling
    estimates by sampling, without the noise, so the propensity is exact and replayable. Within
    0.01 of the truth. O(n_actions), as hopeless actions are left out.
    """
    n = len(means)
    floor = max(max(deviations), 1e-12) * 1e-3
    sds = [max(d, floor) for d in deviations]
    low = max(m - _REACH * s for m, s in zip(means, sds, strict=True))
    # An action that cannot reach even the least that the strongest gives has nothing to win.
    active = [i for i in range(n) if means[i] + _REACH * sds[i] > low]
    found = [0.0] * n
    if len(active) == 1:
        found[active[0]] = 1.0
        return found
    high = max(means[i] + _REACH * sds[i] for i in active)
    step = (high - low) / _NODES
    # An action's mass in a cell is a difference of its cdf, which stays right when a deviation is
    # much smaller than a cell. Twice every cdf and cell mean: the common factor cancels.
    borders = [low + node * step for node in range(_NODES + 1)]
    masses, middles = [], []
    for i in active:
        unit = _SQRT_HALF / sds[i]
        cdf = [math.erfc((means[i] - border) * unit) for border in borders]
        masses.append([b - a for a, b in pairwise(cdf)])
        middles.append([(a + b) / 4.0 for a, b in pairwise(cdf)])
    totals = _masses_times_the_others(masses, middles)
    total = math.fsum(totals)
    if total <= 0.0:
        found[max(active, key=lambda i: means[i])] = 1.0
        return found
    for i, value in zip(active, totals, strict=True):
        found[i] = value / total
    return found


def _masses_times_the_others(
    masses: Sequence[Sequence[float]], middles: Sequence[Sequence[float]]
) -> list[float]:
    """Return per action the sum over cells of its mass times every other action's middle."""
    after = [[1.0] * _NODES]
    for middle in reversed(middles[1:]):
        after.append([a * b for a, b in zip(after[-1], middle, strict=True)])
    before = [1.0] * _NODES
    totals = []
    for mass, middle, rest in zip(masses, middles, reversed(after), strict=True):
        totals.append(sum([m * b * r for m, b, r in zip(mass, before, rest, strict=True)]))
        before = [a * b for a, b in zip(before, middle, strict=True)]
    return totals
