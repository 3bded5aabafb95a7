"""How long a provider asks to be left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from email.utils import parsedate_to_datetime

_LONGEST_S = 86_400.0


def retry_after_s(header: Callable[[str], str | None], now: float) -> float | None:
    """Return the seconds that ``retry-after-ms`` or ``retry-after`` asks for, the latter in seconds
    or as an HTTP date.

    ``now`` is POSIX time. None where there is none, or nonsense; never negative, at most a day.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = header(name)
        if text is not None and (seconds := _seconds(text)) is not None:
            return _bounded(seconds * unit_s)
    text = header("retry-after")
    if text is None:
        return None
    try:
        return _bounded(parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_S)
