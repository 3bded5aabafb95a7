"""The outermost ring of every app: request id, body limits, security headers, the last catch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from shared.kit.ids import uuid7
from shared.observability.logging import get_logger
from shared.web.problems import internal_error, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
}
_WITH_BODY = {"POST", "PUT", "PATCH"}


class Boundary:
    """ASGI middleware. Pure ASGI, because Starlette's base class costs a task per request."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:64] or uuid7().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started_at = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, headers)
        try:
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            else:
                await self.app(scope, self._limited(receive), send_with_headers)
        except Exception:
            get_logger().exception("unhandled error", extra={"request_id": request_id})
            if status:
                raise
            await internal_error(scope["path"], request_id)(scope, receive, send_with_headers)
        finally:
            get_logger().info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "duration_ms": round((time.perf_counter() - started_at) * 1000, 3),
                },
            )

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if scope["method"] not in _WITH_BODY:
            return None
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_body_bytes:
            return self._too_large(scope["path"])
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = length not in {"", "0"} or "transfer-encoding" in headers
        if has_body and kind != "application/json":
            detail = f"Send application/json, not {kind or 'an unnamed type'!r}."
            return problem(
                scope["path"], 415, "unsupported-media-type", "Unsupported media type", detail,
                headers={"Accept": "application/json"},
            )  # fmt: skip
        return None

    def _too_large(self, path: str) -> ASGIApp:
        detail = f"The body is larger than {self.max_body_bytes} bytes."
        return problem(path, 413, "content-too-large", "Content too large", detail)

    def _limited(self, receive: Receive) -> Receive:
        """Count what really arrives: a chunked body names no length."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                # An HTTPException, because FastAPI turns anything else raised here into a 400.
                raise HTTPException(413, f"The body is larger than {self.max_body_bytes} bytes.")
            return message

        return limited
