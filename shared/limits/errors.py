"""A refused request, as its caller reads it."""

from __future__ import annotations

from shared.errors import DomainError, UnavailableError
from shared.limits.buckets import Verdict


class QuotaExceededError(DomainError):
    """A bucket has no room; says which, and after how many seconds to try again."""

    status, code, title = 429, "quota-exceeded", "Quota exceeded"

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(
            f"The limit of {verdict.limit} per {verdict.window_s} s ({verdict.policy}) is used up. "
            f"Try again in {verdict.retry_after_s} s.",
            headers={**headers_of(verdict), "Retry-After": str(verdict.retry_after_s)},
            extra={"violated-policies": list(verdict.violated)},
        )


class LimiterUnavailableError(UnavailableError):
    """Limits cannot be checked, and this route does not do without."""

    code, title = "limiter-unavailable", "Rate limiter unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Limits cannot be checked at the moment. Nothing was done; try again shortly.",
            headers={"Retry-After": "2"},
        )


def headers_of(verdict: Verdict) -> dict[str, str]:
    """Return the verdict as headers: draft-ietf-httpapi-ratelimit-headers, and for old clients.

    ``X-RateLimit-Reset`` counts seconds from now, as ``t`` does.
    """
    name = verdict.policy
    return {
        "RateLimit-Policy": f'"{name}";q={verdict.limit};w={verdict.window_s}',
        "RateLimit": f'"{name}";r={verdict.remaining};t={verdict.reset_s}',
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(verdict.reset_s),
    }
