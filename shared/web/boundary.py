"""The outermost ring of every app: request id, limits of size, CORS, headers, the last catch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from shared.config import Settings
from shared.kit.ids import uuid7
from shared.limits import headers_of
from shared.observability.logging import get_logger
from shared.observability.server_timing import ServerTiming
from shared.web import cors
from shared.web.admitting import Admission
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
# What API Gateway takes; the other hosts' servers would take more.
MAX_HEAD_BYTES = 10_240
_WITH_BODY = {"POST", "PUT", "PATCH"}


class Boundary:
    """ASGI middleware. Pure ASGI, because Starlette's base class costs a task per request."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.max_body_bytes = settings.max_body_bytes
        self.allowed_origins = settings.allowed_origins
        self.is_cold = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:64] or uuid7().hex
        timing = ServerTiming(cold=self.is_cold)
        self.is_cold = False
        state = scope.setdefault("state", {})
        state["request_id"], state["timing"] = request_id, timing
        started_at = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ours = {"server-timing": timing.render(), **SECURITY_HEADERS}
                admission: Admission | None = state.get("admission")
                if admission is not None and admission.verdict is not None:
                    ours |= headers_of(admission.verdict)
                _add_missing(message, ours)
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                cors.add_headers(out, headers.get("origin"), self.allowed_origins)
            await send(message)

        answer = cors.preflight(scope, headers, self.allowed_origins) or self._refusal(
            scope, headers
        )
        try:
            if answer is not None:
                await answer(scope, receive, send_with_headers)
            else:
                await self.app(scope, self._limited(receive), send_with_headers)
        except Exception:
            get_logger().exception("unhandled error", extra={"request_id": request_id})
            if status:
                raise
            await internal_error(scope["path"], request_id)(scope, receive, send_with_headers)
        finally:
            # Neither the query nor a header nor the body: they hold what nobody should read here.
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
        return self._head_refusal(scope) or self._body_refusal(scope, headers)

    def _head_refusal(self, scope: Scope) -> ASGIApp | None:
        line = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
        if line > MAX_HEAD_BYTES:
            detail = f"Path and query are longer than {MAX_HEAD_BYTES} bytes."
            return problem(scope["path"], 414, "uri-too-long", "URI too long", detail)
        if line + sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
            detail = f"Path, query and headers are longer than {MAX_HEAD_BYTES} bytes."
            return problem(scope["path"], 431, "headers-too-large", "Headers too large", detail)
        return None

    def _body_refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if scope["method"] not in _WITH_BODY:
            return None
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_body_bytes:
            return self._too_large(scope["path"])
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity":
            detail = f"Send the body as it is, not {coding!r}."
            return problem(
                scope["path"], 415, "unsupported-media-type", "Unsupported media type", detail,
                headers={"Accept-Encoding": "identity"},
            )  # fmt: skip
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


def _add_missing(start: Message, headers: Mapping[str, str]) -> None:
    """Add to a response those of ``headers`` that it does not have."""
    out = list(start.get("headers", ()))
    taken = {name.lower() for name, _ in out}
    for name, value in headers.items():
        raw = name.lower().encode("latin-1")
        if raw not in taken:
            out.append((raw, value.encode("latin-1")))
    start["headers"] = out
