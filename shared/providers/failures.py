"""What can go wrong with one upstream call, by class: classes decide who may try again."""

from __future__ import annotations

from typing import Any, Literal

ErrorClass = Literal[
    "auth",
    "breaker-open",
    "connect",
    "content-filter",
    "content-type",
    "cut",
    "empty",
    "first-byte-timeout",
    "idle-timeout",
    "malformed",
    "rate-limited",
    "rejected",
    "secret",
    "timeout",
    "too-large",
    "upstream-5xx",
]
# Nothing says that the request itself is at fault: another model may be tried.
RETRYABLE: frozenset[str] = frozenset(
    {
        "auth", "breaker-open", "connect", "content-type", "cut", "empty", "first-byte-timeout",
        "idle-timeout", "malformed", "rate-limited", "secret", "timeout", "too-large",
        "upstream-5xx",
    }
)  # fmt: skip


class UpstreamCallError(Exception):
    """One upstream call failed.

    ``body`` is the provider's document ``{"error": ...}``, where it sent one. ``retry_after_s`` is
    what the provider asked for, in seconds from now. ``unanswered``: nothing of an answer came.
    ``should_retry`` is the provider's ``x-should-retry``, where it sent one.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        detail: str,
        *,
        status: int | None = None,
        latency_ms: float = 0.0,
        body: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        unanswered: bool = False,
    ) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail
        self.status = status
        self.latency_ms = latency_ms
        self.body = body
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.unanswered = unanswered
