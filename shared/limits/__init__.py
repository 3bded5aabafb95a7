"""Rate limits: exact, shared by all processes, one statement a request."""

from shared.limits.buckets import Bucket, Verdict
from shared.limits.errors import LimiterUnavailableError, QuotaExceededError, headers_of
from shared.limits.store import admit, charge, delete_full

__all__ = [
    "Bucket",
    "LimiterUnavailableError",
    "QuotaExceededError",
    "Verdict",
    "admit",
    "charge",
    "delete_full",
    "headers_of",
]
