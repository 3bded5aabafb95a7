"""The headers of answers: which operation sends which."""

from __future__ import annotations

from typing import Any

from shared.web.boundary import MAX_HEAD_BYTES

# Path, query and headers together hold so many: no text in them is longer.
LINE_BYTES = MAX_HEAD_BYTES

_TOKEN = {"type": "string", "maxLength": 256}

COMPONENTS: dict[str, dict[str, Any]] = {
    "x-request-id": {
        "description": "Names this request in our logs; quote it when you report something. Yours "
        "is kept if you send one.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        "required": True,
        "example": "019ab3c4d5e67f8091a2b3c4d5e6f708",
    },
    "Access-Control-Allow-Origin": {
        "description": "The page's origin, if the deployment allows it (DAVINCI_ALLOWED_ORIGINS); "
        "never `*`.",
        "schema": {"type": "string", "maxLength": 256},
        "example": "https://app.example.com",
    },
    "RateLimit-Policy": {
        "description": 'The limits that count this request, as structured fields: `"caller";q='
        "1000;w=60` is 1000 a minute.",
        "schema": {"type": "string", "maxLength": 512},
        "example": '"caller";q=1000;w=60',
    },
    "RateLimit": {
        "description": "What is left (`r`) and in how many seconds it is whole again (`t`). Old "
        "clients find the same in X-RateLimit-Limit, -Remaining and -Reset.",
        "schema": {"type": "string", "maxLength": 512},
        "example": '"caller";r=998;t=1',
    },
    "Retry-After": {
        "description": "Seconds to wait before you try again.",
        "schema": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 86_400},
        "example": 2,
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "schema": _TOKEN,
        "example": 'Bearer realm="davinci"',
    },
    "ETag": {
        "description": "The state's tag; send it back as `If-Match` to change it.",
        "schema": {"type": "string", "maxLength": 64, "pattern": '^(W/)?"[^"]*"$'},
        "example": '"1"',
    },
    "Idempotency-Replayed": {
        "description": "`true`: this is the stored answer to an earlier request with the same "
        "Idempotency-Key; nothing happened again.",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "Accept": {
        "description": "The media type to send.",
        "schema": _TOKEN,
        "example": "application/json",
    },
}


def reference(name: str) -> dict[str, str]:
    """Return the reference to a header's component."""
    return {"$ref": f"#/components/headers/{name}"}


def of_answer(
    status: int, *, limited: bool, tagged: bool, idempotent: bool
) -> dict[str, dict[str, str]]:
    """Return the headers of an answer with ``status``."""
    names = ["x-request-id", "Access-Control-Allow-Origin"]
    if limited:
        names += ["RateLimit-Policy", "RateLimit"]
    if status < 300:
        names += ["ETag"] * tagged + ["Idempotency-Replayed"] * idempotent
    names += {401: ["WWW-Authenticate"], 415: ["Accept"]}.get(status, [])
    if status in {429, 503}:
        names.append("Retry-After")
    return {name: reference(name) for name in names}
