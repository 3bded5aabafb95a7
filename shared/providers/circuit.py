"""The circuit breaker's state machine. Pure: instants are seconds on one clock, passed in.

A model has one circuit per family of errors. Closed, a circuit counts failures in a row; it opens
after ``FAILURES`` of them within ``WINDOW_S``, or at once where one failure is proof. Open, the
model is left alone; then one probe is let through (half-open): its success closes everything, its
failure opens again for twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from shared.providers.failures import ErrorClass, UpstreamCallError

Family = Literal["auth", "availability", "rate-limited"]

FAILURES = 5
WINDOW_S = 60.0
# How long a probe may take before another may try: a process that died never reports back.
PROBE_S = 30.0
_LONGEST_RETRY_AFTER_S = 600.0

_FAMILIES: Mapping[ErrorClass, Family] = {
    "auth": "auth",
    "secret": "auth",
    "rate-limited": "rate-limited",
    "connect": "availability",
    "content-type": "availability",
    "cut": "availability",
    "empty": "availability",
    "first-byte-timeout": "availability",
    "idle-timeout": "availability",
    "malformed": "availability",
    "timeout": "availability",
    "too-large": "availability",
    "upstream-5xx": "availability",
}


@dataclass(frozen=True, slots=True)
class OpenTime:
    """First and longest time that a circuit stays open, in seconds; it doubles in between."""

    first_s: float
    longest_s: float


OPEN_TIMES: Mapping[Family, OpenTime] = {
    "availability": OpenTime(5.0, 60.0),
    "rate-limited": OpenTime(5.0, 60.0),
    # Somebody has to mend a key; a changed model starts with closed circuits anyway.
    "auth": OpenTime(60.0, 600.0),
}


@dataclass(frozen=True, slots=True)
class Circuit:
    """One family's state. ``open_until`` 0: closed. ``openings`` counts them since it was well."""

    failures: int = 0
    since: float = 0.0
    openings: int = 0
    open_until: float = 0.0


Circuits = Mapping[Family, Circuit]


def family_of(error_class: ErrorClass) -> Family | None:
    """Return the family that a failure counts for; None where it says nothing of the model."""
    return _FAMILIES.get(error_class)


def after_failure(
    circuits: Circuits, error: UpstreamCallError, now: float, *, was_probe: bool
) -> Circuits:
    """Return the circuits after a failed call.

    Calls that were under way when a circuit opened change nothing when they fail.
    """
    family = family_of(error.error_class)
    if family is None:
        return circuits
    circuit = circuits.get(family, Circuit())
    if circuit.open_until and not was_probe:
        return circuits
    in_window = now - circuit.since <= WINDOW_S
    failures = circuit.failures + 1 if in_window else 1
    since = circuit.since if in_window and circuit.failures else now
    changed = replace(circuit, failures=failures, since=since)
    if was_probe or failures >= FAILURES or _is_proof(error):
        changed = _opened(changed, family, error, now)
    return {**circuits, family: changed}


def open_until(circuits: Circuits) -> float | None:
    """Return until when the model is to be left alone; None while every circuit is closed."""
    return max((circuit.open_until for circuit in circuits.values()), default=0.0) or None


def to_document(circuits: Circuits) -> dict[str, Any]:
    """Return the circuits as JSON holds them."""
    return {family: asdict(circuit) for family, circuit in circuits.items()}


def from_document(document: Mapping[Any, Mapping[str, Any]]) -> Circuits:
    """Return the circuits that ``to_document`` wrote."""
    return {family: Circuit(**circuit) for family, circuit in document.items()}


def _is_proof(error: UpstreamCallError) -> bool:
    """Whether one failure is enough: the key is missing, wrong or out of money, or the provider
    said how long it wants to be left alone. A 403 or 404 may be about one request.
    """
    if error.error_class == "rate-limited":
        return error.retry_after_s is not None
    return family_of(error.error_class) == "auth" and error.status not in {403, 404}


def _opened(circuit: Circuit, family: Family, error: UpstreamCallError, now: float) -> Circuit:
    times = OPEN_TIMES[family]
    # A power that would overflow is far beyond the longest time.
    open_s = min(times.first_s * 2.0 ** min(circuit.openings, 32), times.longest_s)
    if family == "rate-limited" and error.retry_after_s is not None:
        open_s = min(error.retry_after_s, _LONGEST_RETRY_AFTER_S)
    return Circuit(0, now, circuit.openings + 1, now + open_s)
