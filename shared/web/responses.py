"""What the documentation of a route says about its errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.web.problems import PROBLEM_MEDIA_TYPE

_REASONS = {
    400: "The body is not valid JSON.",
    401: "Credentials are missing or invalid.",
    403: "The credentials do not grant this.",
    404: "There is no such thing.",
    406: "The route has nothing that Accept admits.",
    409: "It conflicts with what is there, or its Idempotency-Key is in use.",
    412: "It has changed since you read it.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The input does not fit; every fault is listed. Or the Idempotency-Key came before.",
    428: "If-Match is missing.",
    429: "A rate limit is used up; Retry-After says for how many seconds.",
    500: "Something failed on our side.",
    502: "The model provider failed.",
    503: "Temporarily unavailable.",
    504: "No model answered in time.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's ``responses`` for problem documents of these statuses, of 500 and 503, and
    of 429 where callers are identified: those are limited.
    """
    return _documented(statuses, "Problem", "application/json", PROBLEM_MEDIA_TYPE)


def openai_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's ``responses`` for OpenAI error objects, as ``problems`` does."""
    return _documented(statuses, "OpenAIError", "application/json")


def _documented(
    statuses: Iterable[int], schema: str, *media_types: str
) -> dict[int | str, dict[str, Any]]:
    # By reference: of a model FastAPI would build a validator per status and route at start, for
    # answers that it never validates. ``infra.local.apps`` puts the schemas into the document.
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    named = {*statuses, 500, 503}
    if 401 in named:
        named.add(429)
    return {
        status: {"description": _REASONS[status], "content": dict.fromkeys(media_types, content)}
        for status in sorted(named)
    }
