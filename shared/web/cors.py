"""Cross-origin requests from the pages of exactly named origins (``DAVINCI_ALLOWED_ORIGINS``).

API Gateway does this by the template on AWS; here it is for the other hosts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, "
    "x-api-key, x-davinci-client, x-davinci-csrf, x-davinci-level, x-davinci-session, "
    "x-davinci-task, x-davinci-timeout-s, x-request-id"
)
_RESPONSE_HEADERS = (
    "etag, idempotency-replayed, location, ratelimit, ratelimit-policy, retry-after, "
    "server-timing, x-davinci-cost-usd, x-davinci-decision-id, x-davinci-level, x-davinci-model, "
    "x-davinci-policy, x-next-cursor, x-request-id"
)


def preflight(scope: Scope, headers: Headers, allowed: Collection[str]) -> ASGIApp | None:
    """Return the answer to a preflight request of an allowed origin; None for anything else."""
    if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    if headers.get("origin") not in allowed:
        return None
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _REQUEST_HEADERS,
            "access-control-max-age": "600",
        },
    )


def add_headers(out: MutableHeaders, origin: str | None, allowed: Collection[str]) -> None:
    """Let an allowed origin read the answer, credentials included."""
    if not allowed:
        return
    # Also on answers to others: a cache must not hand one origin's answer to another.
    out.add_vary_header("Origin")
    if origin in allowed:
        out["access-control-allow-origin"] = str(origin)
        out["access-control-allow-credentials"] = "true"
        out["access-control-expose-headers"] = _RESPONSE_HEADERS
