"""Turn a prompt into a few dozen numbers, the same on every machine.

Only byte operations, integer hashing and correctly rounded IEEE arithmetic are used (no ``hash``,
no Unicode tables, no BLAS), and every value is a multiple of 1/1024 in [-8, 8). So the vector is
float32-exact, reproducible bit for bit, and sums of products of it stay exact in float64.

Layout: ``[hand-made | hashed n-grams | level one-hot | time of day]``. The first
``N_TEXT_FEATURES`` depend on the text alone.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.routing.types import LEVELS, Level

FEATURES_VERSION: Final = 1

_STEP: Final = 1024.0  # values are multiples of 1/1024
_LIMIT: Final = 8.0
# Long prompts are read at both ends: an instruction stands first or last, and the cost of a
# decision must not grow with the prompt.
_HEAD_BYTES: Final = 6144
_TAIL_BYTES: Final = 2048

HAND_MADE: Final[tuple[str, ...]] = (
    "constant",
    "log_bytes",
    "log_words",
    "log_lines",
    "word_length",
    "digit_share",
    "upper_share",
    "symbol_share",
    "non_ascii_share",
    "hangul_share",
    "question_marks",
    "opens_with_question_word",
    "question_words",
    "code_marks",
    "code_fence",
    "maths_marks",
    "choice_options",
    "structure_marks",
    "creation_words",
    "reasoning_words",
    "chat_words",
    "list_lines",
)
N_HASHED: Final = 24
N_TEXT_FEATURES: Final = len(HAND_MADE) + N_HASHED
_TIME: Final = ("hour_sin", "hour_cos", "weekend")
FEATURE_NAMES: Final[tuple[str, ...]] = (
    *HAND_MADE,
    *(f"ngram_{i}" for i in range(N_HASHED)),
    *(f"level_{level}" for level in LEVELS),
    *_TIME,
)
N_FEATURES: Final = len(FEATURE_NAMES)

FloatArray = NDArray[np.float64]

# Every pattern is linear in the text: no repeated class may be followed by a failing match that
# starts again one byte later.
_OPENING = re.compile(
    rb"\s*(?:q(?:uestion)?\s*[:.]\s*)?(?:who|what|when|where|which|whose|whom|why|how|is|are|was|did"
    rb"|does|do|can|name)\b"
)
_QUESTION_WORD = re.compile(rb"\b(?:who|what|when|where|which|whose|whom|why|how)\b")
_CODE = re.compile(
    rb"\bdef \w+\(|\breturn\b|\bclass \w|\bimport \w|\bfunction\b|=>|[{};][ \t]*\n|\bassert\b"
    rb"|\w\(\w*\)|\bpython\b|\bjavascript\b|\bsql\b|\bregex\b|\bapi\b|\bbug\b"
)
_MATHS = re.compile(
    rb"\d\s*[-+*/=^<>]\s*\d|\\[a-z]+|\$|%|\bhow many\b|\bhow much\b|\bsolve\b|\bprove\b"
    rb"|\bequation\b|\bprobability\b|\btriangle\b|\binteger|\btotal\b"
)
_OPTION = re.compile(rb"(?:^|[\n\s])\(?[a-e][).:]\s")
_STRUCTURE = re.compile(rb"[{}\[\]<>|]|\bjson\b|\bxml\b|\btable\b")
_CREATION = re.compile(
    rb"\b(?:write|create|generate|compose|implement|design|draft|build|develop|story|poem|essay"
    rb"|program|code|sentence)\b"
)
_REASONING = re.compile(
    rb"\b(?:explain|analy[sz]e|compare|evaluate|derive|calculate|compute|determine|reason|step|steps"
    rb"|because|therefore|if|suppose|assume)\b"
)
_CHAT = re.compile(
    rb"\b(?:hi|hello|hey|thanks|thank|please|sorry|feel|feeling|you|your|i'm|my|me|friend|advice)\b"
)
_LIST_LINE = re.compile(rb"\n[ \t]*(?:[-*]|\d+[.)])\s")


def featurise(text: str, task_type: str | None, level: Level | None, now: datetime) -> FloatArray:
    """Compute the feature vector of a request.

    Parameters
    ----------
    text
        Anything, including the empty string, lone surrogates and megabytes.
    task_type
        Accepted for symmetry with the learner, which keeps statistics per task; a task tag does
        not enter the vector, so a new tag never changes its length.
    level
        Sets the level one-hot; None leaves it at zero.
    now
        Aware instant of the decision; sets the time of day (UTC).

    Returns
    -------
    ndarray of shape (N_FEATURES,), float64
        Multiples of 1/1024 in [-8, 8).

    Raises
    ------
    ValueError
        If ``now`` is naive.
    """
    del task_type
    return with_level_and_time(text_features(text), level, now)


def with_level_and_time(text_part: FloatArray, level: Level | None, now: datetime) -> FloatArray:
    """Complete the text features (shape ``(N_TEXT_FEATURES,)`` or longer) to a full vector."""
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")
    vector = np.zeros(N_FEATURES)
    vector[:N_TEXT_FEATURES] = text_part[:N_TEXT_FEATURES]
    if level is not None:
        vector[N_TEXT_FEATURES + LEVELS.index(level)] = 1.0
    utc = now.astimezone(UTC)
    angle = 2.0 * math.pi * (utc.hour * 60 + utc.minute) / 1440.0
    clock = (math.sin(angle), math.cos(angle), 1.0 if utc.weekday() >= 5 else 0.0)
    vector[N_TEXT_FEATURES + len(LEVELS) :] = _quantise(np.array(clock))
    return vector


def text_features(text: str) -> FloatArray:
    """Compute the part of the vector that depends on the text alone."""
    raw = text.encode("utf-8", "replace")
    sample = raw
    if len(raw) > _HEAD_BYTES + _TAIL_BYTES:
        sample = raw[:_HEAD_BYTES] + b"\n" + raw[-_TAIL_BYTES:]
    lower = sample.lower()  # ASCII only: the same under every Unicode version
    data = np.frombuffer(lower, dtype=np.uint8)
    vector = np.zeros(N_TEXT_FEATURES)
    vector[: len(HAND_MADE)] = _hand_made(len(raw), sample, lower)
    vector[len(HAND_MADE) :] = _hashed(data)
    return _quantise(vector)


def _hand_made(n_bytes: int, sample: bytes, lower: bytes) -> FloatArray:
    n = max(1, len(sample))
    original = np.frombuffer(sample, dtype=np.uint8)
    counts = np.bincount(original, minlength=256)
    digits = int(counts[48:58].sum())
    upper = int(counts[65:91].sum())
    lower_case = int(counts[97:123].sum())
    blanks = int(counts[9:14].sum() + counts[32])
    non_ascii = int(counts[128:].sum())
    # Hangul syllables are the three-byte sequences that begin with EA..ED.
    hangul = 3 * int(counts[0xEA:0xEE].sum())
    symbols = max(0, n - digits - upper - lower_case - blanks - non_ascii)
    words = lower.split()
    scale = n_bytes / n
    return np.array(
        (
            1.0,
            log2_of(1 + n_bytes) / 4.0,
            log2_of(1 + len(words) * scale) / 4.0,
            log2_of(1 + int(counts[10]) * scale) / 4.0,
            min(16.0, (n - blanks) / max(1, len(words))) / 8.0,
            4.0 * digits / n,
            4.0 * upper / n,
            4.0 * symbols / n,
            2.0 * non_ascii / n,
            2.0 * min(n, hangul) / n,
            log2_of(1 + int(counts[63])) / 2.0,
            1.0 if _OPENING.match(lower) else 0.0,
            log2_of(1 + _count(_QUESTION_WORD, lower)) / 2.0,
            log2_of(1 + _count(_CODE, lower)) / 2.0,
            1.0 if b"```" in lower or b"def " in lower else 0.0,
            log2_of(1 + _count(_MATHS, lower)) / 2.0,
            log2_of(1 + _count(_OPTION, lower)) / 2.0,
            log2_of(1 + _count(_STRUCTURE, lower)) / 4.0,
            log2_of(1 + _count(_CREATION, lower)) / 2.0,
            log2_of(1 + _count(_REASONING, lower)) / 2.0,
            log2_of(1 + _count(_CHAT, lower)) / 2.0,
            log2_of(1 + _count(_LIST_LINE, lower)) / 2.0,
        )
    )


def log2_of(value: float) -> float:
    """Return a piecewise linear log2, exact in IEEE arithmetic (libm's last bit differs)."""
    mantissa, exponent = math.frexp(value)
    return (exponent - 1) + (2.0 * mantissa - 1.0)


def _count(pattern: re.Pattern[bytes], data: bytes) -> int:
    return len(pattern.findall(data))


_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalise hashes (splitmix64), so that every bit depends on every byte."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def _hashed(data: NDArray[np.uint8]) -> FloatArray:
    """Sum the signed hashes of all byte 4-grams into ``N_HASHED`` cells and normalise."""
    cells = np.zeros(N_HASHED)
    if data.size < 4:
        return cells
    wide = data.astype(np.uint64)
    h = wide[:-3]
    for k in range(1, 4):
        h = h * _MULTIPLIER + wide[k : data.size - 3 + k]
    h = _mix(h)
    # The sign is independent of the cell, so collisions cancel instead of adding up.
    sign = 1.0 - 2.0 * (h >> np.uint64(63)).astype(np.float64)
    cells = np.bincount((h % np.uint64(N_HASHED)).astype(np.intp), sign, N_HASHED)
    norm = math.sqrt(float((cells * cells).sum()))
    return 2.0 * cells / norm if norm > 0 else cells


def _quantise(values: FloatArray) -> FloatArray:
    scaled = np.rint(values * _STEP)
    return np.clip(scaled, -_LIMIT * _STEP, _LIMIT * _STEP - 1.0) / _STEP
