"""Is the best model known, and would that survive another week of the same traffic?

Learning never proves that a leader stays best; what can be said is how probable it is now, how
much it leads by, and how stable that has been. "Converged" is deliberately hard to reach: the
leader must be best with high probability, its advantage must exceed its uncertainty, and a
further week of the same trend must not undo that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

__all__ = ["Belief", "Standing", "probability_best", "standing_of", "weighted_belief"]

_PROBABILITY_REQUIRED: Final = 0.95
_NODES: Final = 512
_WEEK_DAYS: Final = 7.0
_Z_95: Final = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Belief:
    """Mean reward of one model as a Gaussian: ``mean`` and the deviation ``sd`` of that mean."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a level stands; units are those of the rewards, ``slope`` per day.

    ``converged_since`` is an index into the days, the first of the unbroken run of days that
    ends today and on all of which the same leader was converged.
    """

    leader: str
    runner_up: str
    probability_best: float
    advantage: float
    half_width: float
    slope: float
    converged: bool
    converged_since: int | None
    reason: str


def weighted_belief(
    weight_sum: float,
    weighted_reward_sum: float,
    square_sum: float,
    square_reward_sum: float,
    square_reward_square_sum: float,
) -> Belief | None:
    """Return mean and standard error of a self-normalised estimate from its five sums.

    With ``w`` the weights and ``r`` the rewards: ``v = sum(w r) / sum(w)`` and
    ``var(v) = sum(w^2 (r - v)^2) / sum(w)^2``.

    Parameters
    ----------
    weight_sum, weighted_reward_sum
        ``sum(w)`` and ``sum(w r)``.
    square_sum, square_reward_sum, square_reward_square_sum
        ``sum(w^2)``, ``sum(w^2 r)`` and ``sum(w^2 r^2)``.

    Returns
    -------
    Belief or None
        None while the effective sample size is below 2: nothing can be said of the spread.
    """
    if weight_sum <= 0.0 or square_sum <= 0.0 or weight_sum**2 / square_sum < 2.0:
        return None
    value = weighted_reward_sum / weight_sum
    spread = square_reward_square_sum - 2.0 * value * square_reward_sum + value**2 * square_sum
    return Belief(value, math.sqrt(max(0.0, spread)) / weight_sum)


def probability_best(beliefs: Sequence[Belief]) -> list[float]:
    """Return the probability that each model's mean is the largest; sums to 1.

    The integral of ``pdf_i(x) prod_{j != i} cdf_j(x)`` over ``x``, independent Gaussians, by the
    midpoint rule in steps of the cdf: deterministic, error below 1e-3.

    Raises
    ------
    ValueError
        If there are no beliefs or a deviation is negative.

    Examples
    --------
    >>> [round(p, 3) for p in probability_best([Belief(0.5, 0.1), Belief(0.5, 0.1)])]
    [0.5, 0.5]
    """
    if not beliefs or any(b.sd < 0.0 for b in beliefs):
        raise ValueError("beliefs must not be empty, deviations not negative")
    means = np.array([b.mean for b in beliefs])
    sds = np.array([b.sd for b in beliefs])
    sds = np.maximum(sds, max(1e-12, 1e-3 * float(sds.max())))
    # Below the largest of the lower ends somebody else is almost surely better.
    low = float((means - 8.0 * sds).max())
    high = float((means + 8.0 * sds).max())
    borders = np.unique(
        np.concatenate(
            [np.linspace(low, high, _NODES)]
            + [
                np.clip(m + s * np.linspace(-8, 8, _NODES), low, high)
                for m, s in zip(means, sds, strict=True)
            ]
        )
    )
    z = (borders[:, None] - means) / sds
    cdf = 0.5 * np.vectorize(math.erfc, otypes=[float])(-z * math.sqrt(0.5))
    mass, middle = np.diff(cdf, axis=0), (cdf[1:] + cdf[:-1]) / 2.0
    found = np.array(
        [
            float((mass[:, i] * np.delete(middle, i, axis=1).prod(axis=1)).sum())
            for i in range(len(beliefs))
        ]
    )
    total = float(found.sum())
    return [float(p) for p in found / total]


def standing_of(days: Sequence[Mapping[str, Belief]]) -> Standing | None:
    """Judge whether the leader of one level is settled.

    Parameters
    ----------
    days
        What was believed of each model at the end of each day, from all evidence of the window
        up to then; oldest first, the last is today.

    Returns
    -------
    Standing or None
        None while fewer than two models are known.

    Notes
    -----
    A day counts as converged if the leader is best with probability 0.95, leads by more than the
    half-width of the 95 % interval of its advantage, and would still lead by more than 0 at that
    interval's lower end after seven more days of the trend, where the trend is the least-squares
    slope of the advantage over the days so far if it points down, and the interval does not
    shrink. "Converged since" needs a run of such days with the same leader.
    """
    if not days or len(days[-1]) < 2:
        return None
    today = _day(days)
    assert today is not None
    leader, runner_up, chance, advantage, half, slope, converged, reason = today
    since = None
    if converged:
        for index in range(len(days) - 1, -1, -1):
            found = _day(days[: index + 1])
            if found is None or found[0] != leader or not found[6]:
                break
            since = index
    return Standing(leader, runner_up, chance, advantage, half, slope, converged, since, reason)


def _day(
    days: Sequence[Mapping[str, Belief]],
) -> tuple[str, str, float, float, float, float, bool, str] | None:
    beliefs = days[-1]
    if len(beliefs) < 2:
        return None
    names = sorted(beliefs, key=lambda name: (-beliefs[name].mean, name))
    leader, runner_up = names[0], names[1]
    chance = probability_best([beliefs[name] for name in names])[0]
    advantage = beliefs[leader].mean - beliefs[runner_up].mean
    half = _Z_95 * math.hypot(beliefs[leader].sd, beliefs[runner_up].sd)
    history = [
        (index, day[leader].mean - max(b.mean for name, b in day.items() if name != leader))
        for index, day in enumerate(days)
        if leader in day and len(day) > 1
    ]
    slope = _slope(history[-int(_WEEK_DAYS) :])
    later = advantage - half + min(0.0, slope) * _WEEK_DAYS
    if chance < _PROBABILITY_REQUIRED:
        reason = f"best with probability {chance:.2f}, {_PROBABILITY_REQUIRED} is required"
    elif advantage <= half:
        reason = "the advantage is within its uncertainty"
    elif len(history) < 2:
        reason = "less than two days of evidence"
    elif later <= 0.0:
        reason = "the advantage is shrinking: a further week of it would undo the lead"
    else:
        return leader, runner_up, chance, advantage, half, slope, True, "settled"
    return leader, runner_up, chance, advantage, half, slope, False, reason


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """Return the least-squares slope of the advantage per day; 0 of fewer than two points."""
    if len(points) < 2:
        return 0.0
    x = np.array([p[0] for p in points], dtype=np.float64)
    y = np.array([p[1] for p in points])
    x -= x.mean()
    return float(x @ y / (x @ x))
