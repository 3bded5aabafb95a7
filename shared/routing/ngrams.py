"""Words, word pairs and byte 4-grams of a text, hashed and projected to a few dozen axes.

Rolling hashes over the UTF-8 bytes, all at once: a word's hash is a difference of two prefix sums.
The projection is a matrix of small integers, fitted offline (``infra.bench.fit_features``).
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

N_TOPICS_AXES: Final = 64
DATA_FILE: Final = Path(__file__).with_name("features_v2.npz")

# Long prompts are read at both ends: an instruction stands first or last, and the cost of a
# decision must not grow with the prompt.
_HEAD_BYTES: Final = 6144
_TAIL_BYTES: Final = 2048

HASH_BITS: Final = 14
_SHIFT = np.uint64(64 - HASH_BITS)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MAX_SAMPLE: Final = _HEAD_BYTES + _TAIL_BYTES + 2


def _powers(base: int, n: int) -> NDArray[np.uint64]:
    powers = np.ones(n, dtype=np.uint64)
    powers[:] = np.cumprod(np.full(n, base, dtype=np.uint64))
    return powers


# Powers of an odd multiplier and of its inverse modulo 2**64: a word's hash is a difference of two
# prefix sums, moved to a common position.
_POWERS = _powers(int(_MULTIPLIER), _MAX_SAMPLE)
_INVERSE_POWERS = _powers(pow(int(_MULTIPLIER), -1, 1 << 64), _MAX_SAMPLE)


def hashed_ngrams(data: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the cells in [0, 2**HASH_BITS) of all words, word pairs and byte 4-grams of ``data``.

    ``data`` is lower-cased UTF-8 of at most the sample's length. A word is a run of ASCII letters,
    digits or bytes above 127, so any script has words.
    """
    n = data.size
    if n == 0:
        return np.zeros(0, dtype=np.uint16)
    wide = data.astype(np.uint64)
    inside = _WORD_BYTE.take(data)
    change = (inside[1:] != inside[:-1]).nonzero()[0] + 1
    if inside[0]:
        change = np.concatenate((_ZERO, change))
    if inside[-1]:
        change = np.concatenate((change, np.array([n])))
    start, stop = change[::2], change[1::2]
    prefix = np.zeros(n + 1, dtype=np.uint64)
    (wide * _POWERS[:n]).cumsum(out=prefix[1:])
    words = _mixed((prefix[stop] - prefix[start]) * _INVERSE_POWERS[start])
    n_pairs, n_quads = max(0, words.size - 1), max(0, n - 3)
    rest = np.empty(n_pairs + n_quads, dtype=np.uint64)
    np.multiply(words[:-1], _THREE, out=rest[:n_pairs])
    rest[:n_pairs] += words[1:]
    if n_quads:
        quads = rest[n_pairs:]
        quads[:] = wide[:-3]
        for k in range(1, 4):
            quads *= _MULTIPLIER
            quads += wide[k : n_quads + k]
        quads += _FOUR
    return (np.concatenate((words, _mixed(rest))) >> _SHIFT).astype(np.uint16)


_ZERO = np.zeros(1, dtype=np.intp)
_THREE, _FOUR = np.uint64(3), np.uint64(4)
_WORD_BYTE = np.zeros(256, dtype=bool)
for _first, _last in ((48, 57), (97, 122), (128, 255)):
    _WORD_BYTE[_first : _last + 1] = True


def _mixed(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalise hashes in place (splitmix64), so that every bit depends on every byte."""
    for shift, factor in _ROUNDS:
        h ^= h >> shift
        h *= factor
    h ^= h >> _LAST_SHIFT
    return h


_ROUNDS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT = np.uint64(31)


def term_weights(cells: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return the distinct cells, sorted, and the bit length of their counts (1, 2, 2, 3, 3 ...)."""
    ordered = np.sort(cells, kind="stable")  # of 16 bits: by radix, in linear time
    is_new = np.ones(ordered.size + 1, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:-1])
    first = is_new.nonzero()[0]
    counts = first[1:] - first[:-1]
    return ordered[first[:-1]], _BIT_LENGTH[np.minimum(counts, _BIT_LENGTH.size - 1)]


_BIT_LENGTH = np.array([int(i).bit_length() for i in range(1024)], dtype=np.float32)


class _Projection(NamedTuple):
    """Small integers: their float32 sums stay below 2**24, so any order of adding is exact."""

    axes: NDArray[np.int8]  # (2**HASH_BITS, N_TOPICS_AXES); one byte each, to stay in cache
    rarity: NDArray[np.float32]  # (2**HASH_BITS,)
    scale: NDArray[np.float64]  # (N_TOPICS_AXES,): makes each axis of unit variance


@functools.cache
def _projection() -> _Projection:
    with np.load(DATA_FILE, allow_pickle=False) as data:
        return _Projection(
            # By rows, as they are picked: the file has them by columns, where a row is 64 places.
            np.ascontiguousarray(data["axes"]),
            data["rarity"].astype(np.float32),
            data["axis_scale"].astype(np.float64),
        )


def forget_projection() -> None:
    """Read the shipped file again at the next use (after it has been fitted anew)."""
    _projection.cache_clear()


def projected(data: NDArray[np.uint8]) -> FloatArray:
    """Return the axes of a text, each of about unit variance over public prompts."""
    present, weights = term_weights(hashed_ngrams(data))
    if present.size == 0:
        return np.zeros(N_TOPICS_AXES)
    projection = _projection()
    axes = projection.axes.take(present, axis=0).astype(np.float32)
    total = (weights @ axes).astype(np.float64)
    length = weights * projection.rarity.take(present)
    return total * projection.scale / math.sqrt(float(length @ length))


def sample_of(raw: bytes) -> bytes:
    """Return the part of a text that is read."""
    if len(raw) <= _HEAD_BYTES + _TAIL_BYTES:
        return raw
    return raw[:_HEAD_BYTES] + b"\n" + raw[-_TAIL_BYTES:]


def lower_sample(text: str) -> NDArray[np.uint8]:
    """Return the bytes of which n-grams are taken."""
    return np.frombuffer(sample_of(text.encode("utf-8", "replace")).lower(), dtype=np.uint8)
