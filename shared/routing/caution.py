"""How much doubt counts: against a model that would replace the fixed one, and for trying it.

Both fall with the feedbacks that a model has at the level, from "new" to "seasoned".
"""

from __future__ import annotations

from typing import Final, TypeVar

from shared.routing.arrays import FloatArray

Number = TypeVar("Number", float, FloatArray)

# A model replaces the fixed model only where its quality, lowered by some standard deviations of
# the difference, still pays more: many for a model that is new at the level, so that nothing but
# evidence takes over; few for a seasoned one, as the mean of many small doubtful gains is sure.
GUARD_NEW: Final = 1.5
GUARD_SEASONED: Final = 0.1
GUARD_HALF_LIFE: Final = 30.0  # feedbacks at the level after which half the way is gone

# Thompson sampling draws with a share of the deviation that falls with what is known of a model,
# as what is learned of a new one serves longest.
CURIOSITY_NEW: Final = 1.5
CURIOSITY_SEASONED: Final = 0.7
CURIOSITY_HALF_LIFE: Final = 100.0


def guard_deviations(n: Number) -> Number:
    """Return by how many deviations a model with ``n`` feedbacks at the level is doubted."""
    share = GUARD_HALF_LIFE / (GUARD_HALF_LIFE + n)
    return GUARD_SEASONED + (GUARD_NEW - GUARD_SEASONED) * share


def curiosity(n: float) -> float:
    """Return the share of its deviation with which a model of ``n`` feedbacks is sampled."""
    share = CURIOSITY_HALF_LIFE / (CURIOSITY_HALF_LIFE + n)
    return CURIOSITY_SEASONED + (CURIOSITY_NEW - CURIOSITY_SEASONED) * share
