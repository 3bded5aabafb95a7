"""An instant after which a caller no longer waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """``at`` is seconds on ``now``'s clock; every wait on the caller's behalf ends by then."""

    at: float
    now: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, now: Callable[[], float] = time.monotonic) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(now() + seconds, now)

    def remaining_s(self) -> float:
        """Return the seconds left; negative once it has passed."""
        return self.at - self.now()
