"""Confidence sequences: intervals that stay valid however often one looks.

A rollout is watched the whole time and stopped at the first bad sign. A fixed-sample interval
looked at again and again is wrong in the end with certainty; a confidence sequence covers the
truth at *all* times at once with probability 1 - alpha, so peeking is free.

For observations in a known range, ``exp(lambda S_t - psi(lambda) V_t)`` is a supermartingale for
every lambda in (0, 1), where ``S_t`` sums the deviations from the mean, ``V_t`` sums the squared
deviations from a prediction made before each observation, and ``psi(l) = -log(1 - l) - l``. A
mixture over a few lambdas is one too, and by Ville's inequality it ever reaches 1 / alpha with
probability at most alpha. So count, sum and ``V_t`` are the whole state: three numbers.

References
----------
Howard, S., Ramdas, A., McAuliffe, J. and Sekhon, J. (2021). "Time-uniform, nonparametric,
nonasymptotic confidence sequences." Annals of Statistics 49. Theorem 4.
Waudby-Smith, I. and Ramdas, A. (2024). "Estimating means of bounded random variables by betting."
JRSS B 86. Section 3.2.
Fan, X., Grama, I. and Liu, Q. (2015). "Exponential inequalities for martingales with
applications." Electronic Journal of Probability 20. Proposition 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

__all__ = ["Bounds", "DifferenceSequence", "MeanSequence", "log_evidence", "mixture"]

# The mixture: most of the weight on the lambda that is best at the size the sequence is tuned
# for, the rest on larger ones (early, large effects) and smaller ones (late, small effects).
_FACTORS: Final = (1.0, 0.25, 2.5, 6.0, 16.0, 40.0)
_SHARES: Final = (0.6, 0.08, 0.08, 0.08, 0.08, 0.08)
_LARGEST_LAMBDA: Final = 0.9
# Standard deviation that the tuning assumes, as a share of the range; it never affects validity.
_ASSUMED_SD: Final = 0.45
_BISECTIONS: Final = 60


class Bounds(NamedTuple):
    """Lower and upper end of a confidence sequence now; infinite ends are never returned."""

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class MeanSequence:
    """Confidence sequence for the mean of observations in [0, 1].

    The mean may drift: what is covered is the average of the conditional means so far.

    Parameters
    ----------
    alpha
        Probability that the sequence ever misses, in (0, 1); half of it for each side.
    tuned_for
        Number of observations at which the interval is meant to be tightest.

    Examples
    --------
    >>> sequence = MeanSequence()
    >>> for n in range(1000):
    ...     sequence = sequence.updated(n % 2)
    >>> lower, upper = sequence.bounds()
    >>> bool(0.40 < lower < 0.5 < upper < 0.60)
    True
    """

    alpha: float = 0.05
    tuned_for: int = 5_000
    n: int = 0
    total: float = 0.0
    variation: float = 0.0

    def __post_init__(self) -> None:
        _check(self.alpha, self.tuned_for)

    @property
    def mean(self) -> float:
        """Mean so far; 0.5 before the first observation."""
        return (0.5 + self.total) / (1.0 + self.n)

    def updated(self, value: float) -> MeanSequence:
        """Return the sequence after one more observation.

        Raises
        ------
        ValueError
            If ``value`` is not in [0, 1].
        """
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"observations must be in [0, 1], got {value!r}")
        return replace(
            self,
            n=self.n + 1,
            total=self.total + value,
            variation=self.variation + (value - self.mean) ** 2,
        )

    def bounds(self) -> Bounds:
        """Return the interval that holds now; within [0, 1]."""
        unit = math.sqrt(self.tuned_for) * _ASSUMED_SD
        lower, upper = _bounds(self.n, self.total, self.variation, self.alpha, unit)
        return Bounds(max(0.0, lower), min(1.0, upper))

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; ``from_json`` gives back an equal sequence."""
        return {
            "alpha": self.alpha, "tuned_for": self.tuned_for, "n": self.n, "total": self.total,
            "variation": self.variation,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MeanSequence:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class DifferenceSequence:
    """Confidence sequence for how much better the canary is than the control.

    Each decision was sent to the canary at random with a known share p. The term
    ``(A / p - (1 - A) / (1 - p)) (r - m)`` has the difference of the two means as its expectation
    whatever ``m`` is, provided it was known before the decision; a good ``m`` (the reward that was
    predicted, or the mean so far) makes it vary less. Both tracks see the same traffic at the same
    time, so a change of the traffic cannot look like a difference.

    Parameters
    ----------
    alpha
        Probability that one *side* ever errs: that a canary at least as good is ever said to be
        worse (``upper < 0``), and the same for the other side.
    smallest_share
        The canary's and the control's share never go below this; sets the range of the terms.
    tuned_for
        Number of canary decisions at which the interval is meant to be tightest.

    Notes
    -----
    Shares must be those among the *judged* decisions. Where the canary itself changes how often
    feedback arrives, compare two ``MeanSequence`` with half of alpha each.

    Examples
    --------
    >>> sequence = DifferenceSequence(smallest_share=0.5, tuned_for=1000)
    >>> for n in range(4000):
    ...     canary = n % 2 == 0
    ...     sequence = sequence.updated(0.0 if canary else float(n % 4 == 1), canary, share=0.5)
    >>> sequence.bounds().upper < 0
    True
    """

    alpha: float = 0.05
    smallest_share: float = 0.05
    tuned_for: int = 5_000
    n: int = 0
    n_canary: int = 0
    total: float = 0.0
    variation: float = 0.0
    reward_total: float = 0.0

    def __post_init__(self) -> None:
        _check(self.alpha, self.tuned_for)
        if not 0.0 < self.smallest_share <= 0.5:
            raise ValueError(f"smallest_share must be in (0, 0.5], got {self.smallest_share}")

    @property
    def difference(self) -> float:
        """Estimated canary mean less control mean; 0 before the first observation."""
        return self.term_range * self.total / self.n if self.n else 0.0

    @property
    def term_range(self) -> float:
        """What terms are divided by: a term is within +-1 / share, and so is its prediction."""
        return 2.0 / self.smallest_share

    def updated(
        self, reward: float, is_canary: bool, *, share: float, expected: float | None = None
    ) -> DifferenceSequence:
        """Return the sequence after one more judged decision.

        Parameters
        ----------
        reward
            In [0, 1].
        is_canary, share
            Which track served it, and the canary's probability at that time.
        expected
            Reward that was expected of this decision before the track was drawn, in [0, 1]; the
            mean reward so far where None. It must not depend on the track.

        Raises
        ------
        ValueError
            If a value is out of range.
        """
        if not 0.0 <= reward <= 1.0:
            raise ValueError(f"rewards must be in [0, 1], got {reward!r}")
        if not self.smallest_share <= share <= 1.0 - self.smallest_share:
            raise ValueError(f"share must be within smallest_share of 0 and 1, got {share!r}")
        baseline = (0.5 + self.reward_total) / (1.0 + self.n) if expected is None else expected
        if not 0.0 <= baseline <= 1.0:
            raise ValueError(f"expected must be in [0, 1], got {expected!r}")
        weight = 1.0 / share if is_canary else -1.0 / (1.0 - share)
        term = weight * (reward - baseline) / self.term_range
        return replace(
            self,
            n=self.n + 1,
            n_canary=self.n_canary + is_canary,
            total=self.total + term,
            variation=self.variation + (term - self.total / (1.0 + self.n)) ** 2,
            reward_total=self.reward_total + reward,
        )

    def bounds(self) -> Bounds:
        """Return the interval that holds now, within [-1, 1]: each side errs ever with
        probability ``alpha`` at most.
        """
        lower, upper = _bounds(self.n, self.total, self.variation, 2.0 * self.alpha, self.tuning)
        return Bounds(max(-1.0, self.term_range * lower), min(1.0, self.term_range * upper))

    def is_worse(self) -> bool:
        """Return whether the canary is shown to be worse: the signal to roll back."""
        return log_evidence(-self.total, self.variation, self.tuning) >= -math.log(self.alpha)

    def is_no_worse_than(self, tolerance: float) -> bool:
        """Return whether the canary is shown to lose less than ``tolerance``: may be promoted."""
        shifted = self.total + self.n * tolerance / self.term_range
        return log_evidence(shifted, self.variation, self.tuning) >= -math.log(self.alpha)

    @property
    def tuning(self) -> float:
        """Square root of the V expected after ``tuned_for`` decisions at the smallest share."""
        terms_sd = _ASSUMED_SD / math.sqrt(self.smallest_share * (1.0 - self.smallest_share))
        return terms_sd / self.term_range * math.sqrt(self.tuned_for / self.smallest_share)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; ``from_json`` gives back an equal sequence."""
        return {
            "alpha": self.alpha, "smallest_share": self.smallest_share,
            "tuned_for": self.tuned_for, "n": self.n, "n_canary": self.n_canary,
            "total": self.total, "variation": self.variation, "reward_total": self.reward_total,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DifferenceSequence:
        return cls(**data)


def mixture(unit: float) -> list[tuple[float, float, float]]:
    """Return ``(log weight, lambda, psi(lambda))`` of the mixture tuned for ``sqrt(V) = unit``.

    The best lambda for a bound at ``V`` and alpha is ``sqrt(2 log(1 / alpha) / V)``; alpha = 0.03
    stands in for the few that are used.
    """
    best = math.sqrt(2.0 * math.log(1.0 / 0.03)) / unit
    found = []
    for factor, share in zip(_FACTORS, _SHARES, strict=True):
        size = min(_LARGEST_LAMBDA, factor * best)
        found.append((math.log(share), size, -math.log1p(-size) - size))
    return found


def log_evidence(total: float, variation: float, unit: float) -> float:
    """Return the log of the mixture supermartingale: evidence that the mean is above 0.

    Parameters
    ----------
    total, variation
        ``S_t`` and ``V_t`` of terms that exceed their predictions by at most 1 downwards.
    unit
        ``sqrt(V)`` at which the mixture is tuned.

    Returns
    -------
    float
        Its exponential is ever above 1 / alpha with probability at most alpha if the conditional
        means are never above 0.
    """
    exponents = [w + size * total - psi * variation for w, size, psi in mixture(unit)]
    largest = max(exponents)
    return largest + math.log(math.fsum(math.exp(e - largest) for e in exponents))


def _bounds(n: int, total: float, variation: float, alpha: float, unit: float) -> Bounds:
    """Invert the evidence for each side at alpha / 2; per term, in units of the range."""
    if n == 0:
        return Bounds(-math.inf, math.inf)
    threshold = -math.log(alpha / 2.0)
    # The half-width h solves log_evidence(n h) = threshold, the same for both sides.
    low, high = 0.0, 1.0
    while log_evidence(n * high, variation, unit) < threshold:
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if log_evidence(n * middle, variation, unit) < threshold:
            low = middle
        else:
            high = middle
    return Bounds(total / n - high, total / n + high)


def _check(alpha: float, tuned_for: int) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if tuned_for < 1:
        raise ValueError(f"tuned_for must be at least 1, got {tuned_for}")
