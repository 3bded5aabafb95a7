"""How long a recorded model would have taken: **simulated** from published measurements.

The recordings hold no times. The figures below are the end-to-end times of 150 requests per model
(550 tokens in, about 150 out) that the LLMPerf leaderboard measured on 19 December 2023:
ray-project/llmperf-leaderboard@27aa9b6, raw_data/summary/together_{7b,70b}.json. Divided by the
mean number of tokens out they are seconds per token; the medians are the leaderboard's 75 and 65
tokens per second.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

_QUANTILES = (0.0, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class SpeedClass:
    """Published speed of one size of model.

    ``end_to_end_s`` are the seconds of a whole request at ``_QUANTILES``; ``first_token_s`` is the
    median time to the first token.
    """

    up_to_billion: float
    mean_tokens_out: float
    end_to_end_s: tuple[float, ...]
    first_token_s: float


# The leaderboard measured 7, 13 and 70 billion parameters. No recorded model lies between 10 and
# 40 billion; those of 49 and 51 billion take the figures of 70, the slower neighbour.
SPEED_CLASSES: tuple[SpeedClass, ...] = (
    SpeedClass(10.0, 172.4, (1.848, 2.147, 2.292, 2.460, 2.596, 2.718, 3.007, 3.045), 0.519),
    SpeedClass(
        float("inf"), 158.6, (1.655, 2.319, 2.438, 2.588, 2.847, 2.997, 3.535, 3.558), 0.635
    ),
)


@cache
def speed_class(model: str) -> SpeedClass:
    """Return the speed class of a model by the parameter count in its name (``...-7b-...``).

    A name without a count takes the slowest class.
    """
    found = _SIZE.search(model)
    billion = float(found.group(1)) if found else float("inf")
    return next(row for row in SPEED_CLASSES if billion <= row.up_to_billion)


def simulated_latency_ms(row_id: str, model: str, tokens_out: int) -> int:
    """Draw the latency of one recorded request: equal arguments, equal milliseconds.

    The draw depends on nothing but the names, so the upstream, the driver and the summary agree
    without talking to each other, on every machine.
    """
    row = speed_class(model)
    digest = blake2b(f"{row_id}|{model}".encode(), digest_size=8).digest()
    uniform = int.from_bytes(digest, "big") / 2**64
    right = min(bisect_right(_QUANTILES, uniform), len(_QUANTILES) - 1)
    low, high = _QUANTILES[right - 1], _QUANTILES[right]
    fast, slow = row.end_to_end_s[right - 1], row.end_to_end_s[right]
    seconds = fast + (slow - fast) * (uniform - low) / (high - low)
    return round(seconds / row.mean_tokens_out * tokens_out * 1000)


def first_token_ms(model: str) -> int:
    """Return the median milliseconds to the first token, for streamed answers."""
    return round(speed_class(model).first_token_s * 1000)
