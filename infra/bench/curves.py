"""How good a router is: area under quality against cost, and shares of a stronger model's calls.

AIQ is the mean quality along the upper concave hull of (cost, quality), between the cost of the
cheapest and of the best single model. APGR and CPT are defined as in RouteLLM: the share of the
gap between two models that is recovered, averaged over (or at) the share of strong-model calls.

References
----------
Hu, Q. et al. (2024). "RouterBench." Ong, I. et al. (2024). "RouteLLM." Section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Point = tuple[float, float]  # (cost, quality)

# Weights of relative cost that trace a router's curve, from "quality alone" to "cost alone".
COST_WEIGHTS: FloatArray = np.concatenate(([0.0], np.geomspace(1e-4, 1e3, 200)))
_GRID = 2001


class Curve(NamedTuple):
    """Vertices of an upper concave, non-decreasing hull."""

    cost: FloatArray
    quality: FloatArray

    def area(self, low: float, high: float) -> float:
        """Return the mean quality between two costs; constant beyond both ends."""
        at = np.linspace(low, high, _GRID)
        value = np.interp(at, self.cost, self.quality)
        return float(np.mean((value[1:] + value[:-1]) / 2.0))

    def cost_of(self, quality: float) -> float | None:
        """Return the least cost at which the quality is reached, None where it never is."""
        if self.quality[-1] < quality:
            return None
        if self.quality[0] >= quality:
            return float(self.cost[0])
        return float(np.interp(quality, self.quality, self.cost))


def hull_of(points: Sequence[Point]) -> Curve:
    """Return the upper concave hull of points, cut where it would fall."""
    rising: list[Point] = []
    for cost, quality in sorted(points, key=lambda p: (p[0], -p[1])):
        if not rising or quality > rising[-1][1]:
            rising.append((cost, quality))
    kept: list[Point] = []
    for point in rising:
        while len(kept) >= 2 and _is_below(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return Curve(np.array([c for c, _ in kept]), np.array([q for _, q in kept]))


def _is_below(a: Point, b: Point, c: Point) -> bool:
    """Return whether b lies on or under the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


class PairScores(NamedTuple):
    """APGR, and the share of strong calls that recovers 50 % and 80 % of the gap."""

    apgr: float
    cpt50: float
    cpt80: float


def pair_scores(preference: FloatArray, weak: FloatArray, strong: FloatArray) -> PairScores | None:
    """Score an order of rows by ``preference`` for the strong model; None without a gap.

    All arrays have the shape (n_rows,). Rows of equal preference are taken in file order.
    """
    gain = (strong - weak)[np.argsort(-preference, kind="stable")]
    if gain.sum() <= 0.0:
        return None
    recovered = np.concatenate(([0.0], np.cumsum(gain))) / gain.sum()
    share = np.linspace(0.0, 1.0, len(recovered))
    area = float(np.sum((recovered[1:] + recovered[:-1]) / 2.0) / len(gain))

    def least_share(goal: float) -> float:
        return float(share[int(np.argmax(recovered >= goal))])

    return PairScores(area, least_share(0.5), least_share(0.8))
