"""Which class of failure a provider's status or error object tells. Pure."""

from __future__ import annotations

from typing import Any

from shared.providers.failures import ErrorClass

# Words in an error's code, type or status that tell more than the status line; the first wins.
_WORDS: tuple[tuple[str, ErrorClass], ...] = (
    ("content_filter", "content-filter"),
    ("content_policy", "content-filter"),
    ("responsibleaipolicy", "content-filter"),
    ("insufficient_quota", "rate-limited"),
    ("rate_limit", "rate-limited"),
    ("too_many_requests", "rate-limited"),
    ("resource_exhausted", "rate-limited"),
    ("authentication", "auth"),
    ("invalid_api_key", "auth"),
    ("permission", "auth"),
    ("insufficient_balance", "auth"),
    ("model_not_found", "auth"),
    ("timeout", "timeout"),
    ("overloaded", "upstream-5xx"),
    ("server_error", "upstream-5xx"),
    ("internal", "upstream-5xx"),
    ("unavailable", "upstream-5xx"),
    ("invalid_request", "rejected"),
    ("context_length", "rejected"),
)


def class_of_answer(status: int, document: dict[str, Any] | None) -> ErrorClass:
    """Return the class of a failure by its HTTP status and its document ``{"error": ...}``."""
    if 200 <= status < 300:
        return class_of_error(document)
    told = _class_of_words(document)
    # A filter answers 400. A 404 that names the model says that this key may not use it, or that
    # nobody may any more: another model can still serve.
    if told == "content-filter" or (status == 404 and told == "auth"):
        return told
    return class_of_status(status)


def class_of_status(status: int) -> ErrorClass:
    """Return the class of a status that is no success."""
    if status == 429:
        return "rate-limited"
    if status in {401, 402, 403}:
        return "auth"
    if status == 408:
        return "timeout"
    # 409 and 425 are the server's momentary state, as the official client takes them.
    if status >= 500 or status < 400 or status in {409, 425}:
        return "upstream-5xx"
    return "rejected"


def class_of_error(document: dict[str, Any] | None) -> ErrorClass:
    """Return the class of an error that came inside a successful answer or a stream.

    By the HTTP status in its code, where it is one, else by its words; else it is the provider's.
    """
    told = _class_of_words(document)
    if told == "content-filter":
        return told
    error = (document or {}).get("error")
    for name in ("code", "status", "status_code"):
        code = error.get(name) if isinstance(error, dict) else None
        if isinstance(code, (int, str)) and str(code).isdigit() and 400 <= int(code) < 600:
            return class_of_status(int(code))
    return told or "upstream-5xx"


def is_out_of_quota(document: dict[str, Any] | None) -> bool:
    """Whether a 429 means an empty account, which no waiting fills."""
    return "insufficient_quota" in _words(document)


def _class_of_words(document: dict[str, Any] | None) -> ErrorClass | None:
    said = _words(document)
    return next((error_class for word, error_class in _WORDS if word in said), None)


def _words(document: dict[str, Any] | None) -> str:
    """Return what an error says of its kind, in lower case; its message is not looked at."""
    error = (document or {}).get("error")
    if not isinstance(error, dict):
        return ""
    inner = error.get("innererror")
    kinds = [error.get("code"), error.get("type"), error.get("status")]
    kinds.append(inner.get("code") if isinstance(inner, dict) else None)
    return " ".join(kind.lower() for kind in kinds if isinstance(kind, str))
