"""Arrays as arguments: what arrives in any form is checked once and becomes float64 or int64.

Every function raises ``ValueError`` with the argument's name where the content is impossible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def distribution(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return ``value`` as rows that are distributions, shape (n, k)."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape (n, k), got {array.shape}")
    if not (array >= 0.0).all() or not np.allclose(array.sum(axis=1), 1.0, atol=1e-9):
        raise ValueError(f"every row of {name} must be a distribution")
    return array


def indices(actions: npt.ArrayLike, table: FloatArray) -> IntArray:
    """Return ``actions`` as one index into the columns of ``table`` per row."""
    shown: npt.NDArray[Any] = np.asarray(actions)
    if shown.shape != table.shape[:1] or not np.issubdtype(shown.dtype, np.integer):
        raise ValueError(f"actions must be {table.shape[0]} indices, got shape {shown.shape}")
    if not ((shown >= 0) & (shown < table.shape[1])).all():
        raise ValueError(f"actions must be in [0, {table.shape[1]})")
    return shown.astype(np.int64)


def vector(name: str, value: npt.ArrayLike, size: int | None = None) -> FloatArray:
    """Return ``value`` as a finite vector, of ``size`` values where that is given."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or (size is not None and array.size != size):
        raise ValueError(f"{name} must have shape ({size or 'n'},), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def clipped(values: FloatArray, low: float, high: float) -> FloatArray:
    """Return ``values`` kept to [low, high]; of a short vector quicker than ``np.clip``."""
    return np.minimum(np.maximum(values, low), high)


def check_level(confidence_level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not 0.0 < confidence_level < 1.0:
        raise ValueError(f"confidence_level must be in (0, 1), got {confidence_level}")
