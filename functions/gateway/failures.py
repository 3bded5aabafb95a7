"""From what went wrong upstream to what the client reads. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from functions.gateway.errors import (
    AllModelsFailedError,
    ContentFilteredError,
    ModelsUnavailableError,
    RejectedByProviderError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from shared.errors import DomainError
from shared.providers.failures import RETRYABLE, UpstreamCallError

_HIDDEN = "[key]"
_TIMEOUTS = {"timeout", "first-byte-timeout", "idle-timeout"}


def failure_of(
    failures: Sequence[UpstreamCallError], headers: dict[str, str], secrets: Collection[str] = ()
) -> DomainError:
    """Return the error of a request that no model served; the last of ``failures`` ended it.

    A rejection is told in the provider's words, but for ``secrets``: some repeat the key they got.
    """
    last = failures[-1]
    if last.error_class not in RETRYABLE:
        said = last.body.get("error") if last.body is not None else None
        said = _without(said, secrets) if isinstance(said, dict) else None
        detail = f"The provider rejected the request: {(said or {}).get('message') or last.detail}."
        is_filter = last.error_class == "content-filter"
        rejected = ContentFilteredError if is_filter else RejectedByProviderError
        return rejected(detail, said=said, headers=headers)
    waits = [f.retry_after_s for f in failures if f.retry_after_s is not None]
    if waits:
        # The soonest of them can be served then.
        headers = {**headers, "Retry-After": str(max(1, math.ceil(min(waits))))}
    tried = "; ".join(dict.fromkeys(failure.detail for failure in failures))
    kind = _kind({str(failure.error_class) for failure in failures} - {"breaker-open"})
    return kind(f"No model could serve this request ({tried}).", headers=headers)


def _without(said: dict[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    hidden = dict(said)
    for secret in filter(None, secrets):
        for name, value in hidden.items():
            if isinstance(value, str):
                hidden[name] = value.replace(secret, _HIDDEN)
    return hidden


def _kind(classes: set[str]) -> type[DomainError]:
    if not classes:
        return ModelsUnavailableError
    if classes == {"rate-limited"}:
        return UpstreamRateLimitedError
    return UpstreamTimeoutError if classes <= _TIMEOUTS else AllModelsFailedError


def in_band_error(error_class: str, detail: str) -> dict[str, Any]:
    """Return the error object that ends a stream which had begun."""
    is_limit = error_class == "rate-limited"
    code = "upstream_timeout" if error_class in _TIMEOUTS else "upstream_failed"
    return {
        "error": {
            "message": f"The answer broke off: the model's provider {detail}.",
            "type": "rate_limit_error" if is_limit else "api_error",
            "param": None,
            "code": "rate_limit_exceeded" if is_limit else code,
        }
    }
