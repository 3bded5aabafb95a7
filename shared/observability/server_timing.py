"""The ``Server-Timing`` header: where a request's time went."""

from __future__ import annotations

import time
from collections.abc import Callable


class ServerTiming:
    """Durations by name, in order of first use; a name measured twice is summed.

    One per request and thread; ``total`` counts from construction.
    """

    __slots__ = ("_cold", "_durations_ms", "_now", "_started_at")

    def __init__(self, *, cold: bool = False, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._cold = cold
        self._durations_ms: dict[str, float] = {}
        self._started_at = now()

    def measure(self, name: str) -> _Measured:
        """Add the time that a block takes, also when it raises. ``name`` is an HTTP token."""
        return _Measured(self, name, self._now)

    def add(self, name: str, duration_ms: float) -> None:
        """Add a duration that was measured elsewhere."""
        self._durations_ms[name] = self._durations_ms.get(name, 0.0) + duration_ms

    def render(self) -> str:
        """Return the header's value, in ms: ``auth;dur=0.21, db;dur=1.9, total;dur=8.12, cold``."""
        parts = [f"{name};dur={ms:.2f}" for name, ms in self._durations_ms.items()]
        parts.append(f"total;dur={(self._now() - self._started_at) * 1000:.2f}")
        if self._cold:
            parts.append("cold")
        return ", ".join(parts)


class _Measured:
    """A context manager; a class, because a generator costs three times as much."""

    __slots__ = ("_name", "_now", "_started_at", "_timing")

    def __init__(self, timing: ServerTiming, name: str, now: Callable[[], float]) -> None:
        self._timing = timing
        self._name = name
        self._now = now

    def __enter__(self) -> None:
        self._started_at = self._now()

    def __exit__(self, *_error: object) -> None:
        self._timing.add(self._name, (self._now() - self._started_at) * 1000)
