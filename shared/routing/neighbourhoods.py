"""How close a prompt is to each of a few shipped landmarks in feature space.

The landmarks are centres of public prompts (``infra.bench.fit_features``), balanced by topic; no
model's answer enters them. Closeness is a rational quadratic kernel of the distance, so what is
learned per landmark is what a kernel regression would learn of prompts near it, at a fixed size.

Distances are sums of squares of integers and the kernel is made of correctly rounded operations,
so closeness is an integer that is the same on every machine and sums of it commute exactly.

References
----------
Williams, C. and Seeger, M. (2001). "Using the Nystroem Method to Speed Up Kernel Machines." NIPS.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.routing.arrays import FloatArray
from shared.routing.features import N_TEXT_FEATURES
from shared.routing.ngrams import DATA_FILE

IntArray = NDArray[np.int64]

N_LANDMARKS: Final = 96
CLOSENESS_UNIT: Final = 128

# Features come in units of 1/32; two prompts whose every feature differs by one deviation are
# 1.5**-2 close.
_SQUARED_UNIT: Final = 1024.0
_WIDTH: Final = 2.0 * N_TEXT_FEATURES * _SQUARED_UNIT
_JITTER: Final = 1e-3


class _Landmarks(NamedTuple):
    """Integer-valued float64, so that products with feature vectors are exact in any order."""

    places: FloatArray  # (N_TEXT_FEATURES, N_LANDMARKS), doubled
    squares: FloatArray  # (N_LANDMARKS,)


@functools.cache
def _landmarks() -> _Landmarks:
    with np.load(DATA_FILE, allow_pickle=False) as data:
        places = data["landmarks"].astype(np.float64).T
    return _Landmarks(2.0 * places, (places * places).sum(axis=0))


@functools.cache
def prior_root() -> FloatArray:
    """Return R of shape (N_LANDMARKS, N_LANDMARKS): closeness times R has the identity as prior.

    ``R R' = K^-1`` for the closeness K of the landmarks among each other.
    """
    places = np.rint(_landmarks().places.T / 2.0).astype(np.int64)
    among = closeness(places) / CLOSENESS_UNIT
    values, vectors = np.linalg.eigh((among + among.T) / 2.0)
    root: FloatArray = vectors / np.sqrt(np.maximum(values, 0.0) + _JITTER)
    return root


def forget_landmarks() -> None:
    """Read the shipped file again at the next use (after it has been fitted anew)."""
    _landmarks.cache_clear()
    prior_root.cache_clear()


def closeness(vectors: IntArray) -> IntArray:
    """Return closeness to every landmark, (..., N_LANDMARKS), in units of ``1 / CLOSENESS_UNIT``.

    ``vectors`` are fixed-point text features of shape (..., N_TEXT_FEATURES).
    """
    marks = _landmarks()
    real = vectors.astype(np.float64)
    squares = (real * real).sum(axis=-1, keepdims=True)
    distance = squares - real @ marks.places + marks.squares
    far = 1.0 + distance / _WIDTH
    near: IntArray = np.rint(CLOSENESS_UNIT / (far * far)).astype(np.int64)
    return near
