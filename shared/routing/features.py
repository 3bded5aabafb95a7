"""Turn a prompt into a few dozen numbers, the same on every machine.

Words, word pairs and byte 4-grams are hashed (rolling hashes over the UTF-8 bytes) and projected
to ``N_TOPICS_AXES`` axes by a fixed matrix of small integers that was fitted offline on public
prompts (``infra.bench.fit_features``) and ships as ``features_v2.npz``. Hand-made features count
what n-grams cannot see: length, digits, case, how the text opens and ends.

Only byte operations, integer arithmetic and correctly rounded IEEE operations are used (no
``hash``, no Unicode tables, no sums whose order matters), and every value is a multiple of 1/1024
in [-8, 8). So the vector is float32-exact and reproducible bit for bit on every machine.

Layout: ``[hand-made | projected n-grams | level one-hot | time of day]``. The first
``N_TEXT_FEATURES`` depend on the text alone.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import numpy as np

from shared.routing.arrays import FloatArray, clipped
from shared.routing.handmade import HAND_MADE, N_HAND_MADE, hand_made
from shared.routing.ngrams import N_TOPICS_AXES, projected, sample_of
from shared.routing.types import LEVELS, Level

FEATURES_VERSION: Final = 2

_STEP: Final = 1024.0  # values are multiples of 1/1024
_LIMIT: Final = 8.0

N_TEXT_FEATURES: Final = N_HAND_MADE + N_TOPICS_AXES
_TIME: Final = ("hour_sin", "hour_cos", "weekend")
FEATURE_NAMES: Final[tuple[str, ...]] = (
    *HAND_MADE,
    *(f"topic_{i}" for i in range(N_TOPICS_AXES)),
    *(f"level_{level}" for level in LEVELS),
    *_TIME,
)
N_FEATURES: Final = len(FEATURE_NAMES)


def with_level_and_time(text_part: FloatArray, level: Level | None, now: datetime) -> FloatArray:
    """Complete the text features (shape ``(N_TEXT_FEATURES,)`` or longer) to a full vector.

    Parameters
    ----------
    level
        Sets the level one-hot; None leaves it at zero.
    now
        Aware instant of the decision; sets the time of day (UTC).

    Returns
    -------
    ndarray of shape (N_FEATURES,), float64
        Multiples of 1/1024 in [-8, 8). A task tag does not enter it, as the learner keeps
        statistics per task: a new tag never changes the vector's length.

    Raises
    ------
    ValueError
        If ``now`` is naive.
    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")
    vector = np.zeros(N_FEATURES)
    vector[:N_TEXT_FEATURES] = text_part[:N_TEXT_FEATURES]
    if level is not None:
        vector[N_TEXT_FEATURES + LEVELS.index(level)] = 1.0
    utc = now.astimezone(UTC)
    angle = 2.0 * math.pi * (utc.hour * 60 + utc.minute) / 1440.0
    clock = (math.sin(angle), math.cos(angle), 1.0 if utc.weekday() >= 5 else 0.0)
    vector[N_TEXT_FEATURES + len(LEVELS) :] = [round(value * _STEP) / _STEP for value in clock]
    return vector


def text_features(text: str) -> FloatArray:
    """Compute the part of the vector that depends on the text alone, whatever text it is: the
    empty string, lone surrogates and megabytes included.
    """
    raw = text.encode("utf-8", "replace")
    sample = sample_of(raw)
    lower = sample.lower()  # ASCII only: the same under every Unicode version
    data = np.frombuffer(lower, dtype=np.uint8)
    vector = np.zeros(N_TEXT_FEATURES)
    vector[:N_HAND_MADE] = hand_made(len(raw), sample, lower)
    vector[N_HAND_MADE:] = projected(data)
    return _quantise(vector)


def _quantise(values: FloatArray) -> FloatArray:
    scaled = np.rint(values * _STEP)
    return clipped(scaled, -_LIMIT * _STEP, _LIMIT * _STEP - 1.0) / _STEP
