"""Sums from which everything is learned, and how an observation enters them.

All sums are integers (fixed point), so adding commutes exactly. Feature values are scaled to unit
variance over public prompts and kept to 1/32; qualities to 1/1000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.routing.arrays import FloatArray, clipped
from shared.routing.features import N_FEATURES, N_TEXT_FEATURES
from shared.routing.handmade import N_HAND_MADE
from shared.routing.neighbourhoods import N_LANDMARKS
from shared.routing.observations import OutcomeObservation
from shared.routing.topics import scaled_text

IntArray = NDArray[np.int64]

FEATURE_UNIT: Final = 32
QUALITY_UNIT: Final = 1000
# Which text features the slopes of a model use: the hand-made ones (without the constant) and the
# strongest n-gram axes. More axes only add noise at the sample sizes that one model ever gets.
SLOPE_AXES: Final = 16
N_SLOPES: Final = N_HAND_MADE + SLOPE_AXES - 1
SLOPES: Final = slice(1, 1 + N_SLOPES)

# Positions of a serving cell.
N_SERVED, N_SUCCEEDED = 0, 1
N_LATENCY, LATENCY_US, LATENCY2 = 2, 3, 4
N_TOKENS, TOKENS, TOKENS2 = 5, 6, 7
N_COST, COST_NANO = 8, 9
SERVING_WIDTH: Final = 10
NOTHING_SERVED: Final = (0,) * SERVING_WIDTH

# Larger values are measuring errors and would overflow the sums.
_MAX_LATENCY_MS: Final = 1e7
_MAX_TOKENS: Final = 1_000_000

Serving = tuple[int, ...]


class Moments(NamedTuple):
    """``n`` feature vectors: their sum, and the sum of the qualities that came with them."""

    n: int
    quality: int
    features: IntArray

    def plus(self, other: Moments) -> Moments:
        """Return the sums over both."""
        return Moments(
            self.n + other.n, self.quality + other.quality, self.features + other.features
        )


class ModelMoments(NamedTuple):
    """Sums of one model over all its judged requests, each of shape (N_SLOPES,)."""

    squares: IntArray
    products: IntArray  # feature times quality

    def plus(self, other: ModelMoments) -> ModelMoments:
        """Return the sums over both."""
        return ModelMoments(self.squares + other.squares, self.products + other.products)


class NearMoments(NamedTuple):
    """Sums of one model over its judged requests: of closeness, and of closeness times quality."""

    n: int
    quality: int
    closeness: IntArray
    products: IntArray

    def plus(self, other: NearMoments) -> NearMoments:
        """Return the sums over both."""
        return NearMoments(
            self.n + other.n,
            self.quality + other.quality,
            self.closeness + other.closeness,
            self.products + other.products,
        )


def fixed_point(features: FloatArray) -> IntArray:
    """Return scaled text features in units of ``1 / FEATURE_UNIT`` (..., N_TEXT_FEATURES)."""
    whole = np.rint(clipped(scaled_text(features), -8.0, 8.0) * FEATURE_UNIT)
    return whole.astype(np.int64)


def usable(features: Sequence[float] | FloatArray) -> bool:
    """Return whether a stored vector is of this version (older ones teach level and task only)."""
    return len(features) == N_FEATURES


def serving_cell(outcome: OutcomeObservation) -> Serving:
    """Return the sums of one outcome; a failure counts as served but not as a measurement."""
    if not outcome.success:
        return (1, *(0,) * (SERVING_WIDTH - 1))
    cell = [1, 1, *(0,) * (SERVING_WIDTH - 2)]
    if outcome.latency_ms is not None:
        latency = min(outcome.latency_ms, _MAX_LATENCY_MS)
        cell[N_LATENCY : LATENCY2 + 1] = (1, round(latency * 1000.0), round((latency / 10.0) ** 2))
    if outcome.tokens_out is not None:
        tokens = min(outcome.tokens_out, _MAX_TOKENS)
        cell[N_TOKENS : TOKENS2 + 1] = (1, tokens, tokens * tokens)
    if outcome.cost_usd is not None:
        cell[N_COST : COST_NANO + 1] = (1, round(outcome.cost_usd * 1e9))
    return tuple(cell)


def added(a: Serving, b: Serving) -> Serving:
    """Return the sums over both serving cells."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def scatter_of(vectors: IntArray) -> IntArray:
    """Return the sum of outer products, exactly: every partial sum is a float64 integer."""
    real = vectors.astype(np.float64)
    return (real.T @ real).astype(np.int64)


def no_scatter() -> IntArray:
    """Return the scatter of nothing."""
    return np.zeros((N_TEXT_FEATURES, N_TEXT_FEATURES), dtype=np.int64)


def no_near_scatter() -> IntArray:
    """Return the scatter of no closeness."""
    return np.zeros((N_LANDMARKS, N_LANDMARKS), dtype=np.int64)
