"""Integers as short text: lossless, vectorised, the same value on every machine."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def pack(values: Iterable[int] | IntArray) -> str:
    """Return ``values`` (each within 63 bits) as base64 text.

    Signs move to the lowest bit and bytes of equal weight are put side by side, so that the many
    zero bytes of small numbers compress to nearly nothing.
    """
    array = np.ascontiguousarray(
        values if isinstance(values, np.ndarray) else list(values), dtype="<i8"
    )
    zigzag = ((array << 1) ^ (array >> 63)).astype("<u8")
    planes = zigzag.view(np.uint8).reshape(-1, 8).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack(text: str) -> IntArray:
    """Return what ``pack`` was given.

    Raises
    ------
    ValueError
        If ``text`` was not written by ``pack``.
    """
    try:
        raw = zlib.decompress(base64.b64decode(text, validate=True))
    except zlib.error as error:
        raise ValueError("packed numbers are damaged") from error
    if len(raw) % 8:
        raise ValueError("packed numbers are damaged")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(8, -1)
    zigzag = np.ascontiguousarray(planes.T).view("<u8").reshape(-1)
    return (zigzag >> 1).astype(np.int64) ^ -(zigzag & 1).astype(np.int64)
