"""Rate limits: exact, shared by all processes, one statement a request."""

from shared.limits.buckets import Bucket, Verdict
from shared.limits.errors import LimiterUnavailableError, QuotaExceededError, headers_of
from shared.limits.store import (
    admit,
    admit_call,
    arrays_of,
    charge,
    delete_full,
    verdict_of,
    verdicts_of,
)

__all__ = [
    "Bucket",
    "LimiterUnavailableError",
    "QuotaExceededError",
    "Verdict",
    "admit",
    "admit_call",
    "arrays_of",
    "charge",
    "delete_full",
    "headers_of",
    "verdict_of",
    "verdicts_of",
]
