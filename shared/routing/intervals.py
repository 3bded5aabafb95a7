"""Intervals around a mean of independent terms: the BCa bootstrap, and a bound for every ``n``."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.routing.arrays import FloatArray, check_level, vector

__all__ = ["Interval", "bootstrap_interval", "empirical_bernstein_interval"]

# Bytes that the matrix of bootstrap counts may take at a time.
_CHUNK_BYTES: Final = 16_000_000


class Interval(NamedTuple):
    """Lower and upper end, in the unit of what they enclose."""

    lower: float
    upper: float


def bootstrap_interval(
    scores: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    confidence_level: float = 0.95,
    resamples: int = 1_000,
    seed: int = 0,
) -> Interval:
    """Enclose ``mean(scores)``, or ``sum(scores) / sum(weights)``, by the BCa bootstrap.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Independent terms. For the self-normalised estimator ``w_i r_i``, with ``weights`` ``w_i``.
    weights : array-like of shape (n,), optional
        Denominators of a ratio of means.
    confidence_level
        In (0, 1).
    resamples
        Bootstrap samples; at least 100.
    seed
        The only source of chance.

    Returns
    -------
    Interval
        Bias corrected and accelerated: second-order accurate, which matters where a few large
        weights make the distribution skew. The acceleration comes from the infinitesimal
        jackknife.

    Raises
    ------
    ValueError
        If there are fewer than two terms, or an argument is out of range.

    References
    ----------
    Efron, B. (1987). "Better Bootstrap Confidence Intervals." JASA 82.
    """
    terms = vector("scores", scores)
    below = np.ones_like(terms) if weights is None else vector("weights", weights, terms.size)
    check_level(confidence_level)
    if terms.size < 2 or resamples < 100:
        raise ValueError("an interval needs at least two terms and 100 resamples")
    total = float(below.sum())
    if total <= 0.0:
        raise ValueError("every weight is 0: the target policy never takes a logged action")
    value = float(terms.sum()) / total
    influence = (terms - value * below) * (terms.size / total)
    spread = float(np.sqrt(influence @ influence))
    if spread <= 1e-14 * max(1.0, abs(value)) * math.sqrt(terms.size):
        return Interval(value, value)
    values = _resampled_ratios(terms, below, resamples, np.random.default_rng(seed))
    acceleration = float((influence / spread) @ (influence / spread) ** 2) / 6.0
    share_below = float(np.mean(values < value) + 0.5 * np.mean(values == value))
    share_below = min(max(share_below, 0.5 / resamples), 1.0 - 0.5 / resamples)
    normal = NormalDist()
    bias = normal.inv_cdf(share_below)
    tail = (1.0 - confidence_level) / 2.0
    ends = []
    for z in (normal.inv_cdf(tail), normal.inv_cdf(1.0 - tail)):
        shifted = (bias + z) / max(1e-3, 1.0 - acceleration * (bias + z))
        ends.append(float(np.quantile(values, normal.cdf(bias + shifted), method="weibull")))
    return Interval(min(ends[0], value), max(ends[1], value))


def empirical_bernstein_interval(
    scores: npt.ArrayLike, *, low: float, high: float, confidence_level: float = 0.95
) -> Interval:
    """Enclose the mean of independent terms in [low, high] with a guarantee for every ``n``.

    ``mean -+ sqrt(2 V L / n) -+ 7 (high - low) L / (3 (n - 1))`` with ``L = ln(4 / delta)``,
    ``V`` the sample variance and ``delta = 1 - confidence_level``; cut to [low, high].

    Parameters
    ----------
    scores : array-like of shape (n,)
        For IPS of rewards in [0, 1], ``w_i r_i``.
    low, high
        The range that a term *can* have, not what was seen: for IPS 0 and the largest weight that
        the logging policy allows.

    Raises
    ------
    ValueError
        If a term is outside [low, high] or there are fewer than two.

    Notes
    -----
    Conservative: covers more than it says, and is wide where the range is.

    References
    ----------
    Maurer, A. and Pontil, M. (2009). "Empirical Bernstein Bounds and Sample Variance
    Penalization." COLT. Theorem 4, once for each side.

    Examples
    --------
    >>> lower, upper = empirical_bernstein_interval([0.0, 1.0] * 500, low=0.0, high=1.0)
    >>> round(lower, 3), round(upper, 3)
    (0.443, 0.557)
    """
    terms = vector("scores", scores)
    check_level(confidence_level)
    n = terms.size
    if n < 2:
        raise ValueError("an interval needs at least two terms")
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    if not low < high or float(np.min(terms)) < low - slack or float(np.max(terms)) > high + slack:
        raise ValueError(f"every term must be in [low, high] = [{low}, {high}]")
    log_term = math.log(4.0 / (1.0 - confidence_level))
    half = math.sqrt(2.0 * float(terms.var(ddof=1)) * log_term / n)
    half += 7.0 * (high - low) * log_term / (3.0 * (n - 1))
    mean = float(terms.mean())
    return Interval(max(low, mean - half), min(high, mean + half))


def _resampled_ratios(
    terms: FloatArray, below: FloatArray, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Return the ratio in every bootstrap sample: counts of each row, times the columns."""
    n = terms.size
    columns = np.column_stack([terms, below])
    values = np.empty(resamples)
    chunk = max(1, _CHUNK_BYTES // (8 * n))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = np.empty((size, n))
        for row in counts:
            row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
        sums = counts @ columns
        # A sample without any weight says nothing: it repeats the estimate of the whole.
        whole = terms.sum() / below.sum()
        safe = sums[:, 1] > 0.0
        values[start : start + size] = np.where(
            safe, sums[:, 0] / np.where(safe, sums[:, 1], 1.0), whole
        )
    return values
