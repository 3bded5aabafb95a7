"""The public port: CloudFront's behaviours in front of API Gateway in front of the functions."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from infra.local.environments import FunctionPool
from infra.local.http_events import (
    BadResponseError,
    HttpResponse,
    build_event,
    problem,
    read_response,
)
from infra.local.pool import (
    FunctionTimeoutError,
    InvocationError,
    RequestTooLargeError,
    ThrottledError,
)
from infra.local.routes import Match, RouteTable
from infra.local.servers import ServerPool, build_request
from infra.local.static import StaticSite

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

INTEGRATION_TIMEOUT_S = 30.0
MAX_BODY_BYTES = 6 * 1024 * 1024  # Lambda's; API Gateway alone would take 10 MB
MAX_HEAD_BYTES = 10_240
_API = {"api", "v1", "health", "metrics", "docs", "openapi.json"}
_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """The gateway answers by itself."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Gateway:
    """An ASGI application: one request, one environment.

    Routes of the REST API (``streams``) come before those of the HTTP API, which on AWS have a
    host name each. Their responses pass on part by part.
    """

    def __init__(
        self,
        routes: RouteTable,
        pools: Mapping[str, FunctionPool],
        site: StaticSite,
        *,
        streams: RouteTable | None = None,
        servers: Mapping[str, ServerPool] | None = None,
        timeout_s: float = INTEGRATION_TIMEOUT_S,
    ) -> None:
        self._streams = streams or RouteTable([])
        self._servers = servers or {}
        self._routes = routes
        self._pools = pools
        self._site = site
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        try:
            if stream := self._streams.match(method, path):
                await self._serve_stream(scope, receive, send, stream)
                return
            if self._is_api(scope):
                response = await self._serve_api(scope, receive)
            else:
                response = await self._site.respond(method, path, dict(scope["headers"]))
        except RefusedError as refusal:
            if refusal.status >= 500:
                cause = refusal.__cause__ or refusal
                _log.warning("%s %s: %d, %s", method, path, refusal.status, cause)
            response = problem(refusal.status, refusal.code, str(refusal), path)
        except Exception:
            _log.exception("%s %s failed in the local cloud", method, path)
            response = problem(500, "internal-error", "The local cloud failed; see its log.", path)
        await send_response(response, send)

    def _is_api(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == "/":
            accept = dict(scope["headers"]).get(b"accept", b"")
            return b"application/json" in accept and b"text/html" not in accept
        return path[1:].split("/", 1)[0] in _API

    async def _serve_api(self, scope: Scope, receive: Receive) -> HttpResponse:
        _check_head(scope)
        body = await read_body(receive)
        match = self._routes.match(scope["method"], scope["path"])
        if match is None:
            raise RefusedError(404, "not-found", "No route serves this method and path.")
        request_id = str(uuid.uuid4())
        now = datetime.now(UTC)
        event = build_event(scope, body, match, request_id=request_id, now=now)
        result = await self._invoke(self._pools[match.route.function], event)
        try:
            response = read_response(result)
        except BadResponseError as error:
            raise RefusedError(
                502, "bad-function-response", f"The function answered {error}."
            ) from error
        response.headers.append((b"apigw-requestid", request_id.encode()))
        return response

    async def _serve_stream(self, scope: Scope, receive: Receive, send: Send, match: Match) -> None:
        _check_head(scope)
        request = build_request(scope, await read_body(receive))
        request_id = str(uuid.uuid4()).encode()
        has_started = False

        async def pass_on(message: dict[str, Any]) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                message["headers"].append((b"x-amzn-requestid", request_id))
            await send(message)

        pool = self._servers[match.route.function]
        try:
            with _as_refusals():
                await pool.serve(request, receive, pass_on, limit_s=match.route.timeout_s)
        except RefusedError as refusal:
            if not has_started:
                raise
            # Without its last part the response is cut, and the client sees that it is.
            _log.warning("%s: the response is cut, %s", match.route.key, refusal.__cause__)

    async def _invoke(self, pool: FunctionPool, event: dict[str, Any]) -> Any:
        # Neither the gateway's limit nor a client that hangs up stops a function on AWS.
        invocation = asyncio.ensure_future(pool.invoke(event))
        with _as_refusals():
            try:
                return await asyncio.wait_for(asyncio.shield(invocation), self._timeout_s)
            except TimeoutError as error:
                detail = f"The request took longer than {self._timeout_s:g} s."
                raise RefusedError(503, "gateway-timeout", detail) from error


@contextmanager
def _as_refusals() -> Iterator[None]:
    try:
        yield
    except RequestTooLargeError as error:
        raise RefusedError(413, "request-too-large", str(error)) from error
    except ThrottledError as error:
        raise RefusedError(503, "throttled", str(error)) from error
    # From here on an HTTP API says 500; 502 and 504 tell our own faults from the gateway's.
    except FunctionTimeoutError as error:
        raise RefusedError(504, "function-timeout", str(error)) from error
    except InvocationError as error:
        raise RefusedError(502, "function-error", "The function failed; see its log.") from error


def _check_head(scope: Scope) -> None:
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEAD_BYTES:
        detail = f"Request line and headers are over {MAX_HEAD_BYTES} bytes."
        raise RefusedError(431, "headers-too-large", detail)


async def read_body(receive: Receive) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "client-disconnected", "The client went away.")
        size += len(message.get("body", b""))
        if size <= MAX_BODY_BYTES:  # the rest is read and forgotten, so the client hears us
            chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        detail = f"The body has {size} bytes; the limit is {MAX_BODY_BYTES}."
        raise RefusedError(413, "request-too-large", detail)
    return b"".join(chunks)


async def send_response(response: HttpResponse, send: Send) -> None:
    headers = response.headers
    if response.status not in {204, 304}:
        headers = [*headers, (b"content-length", str(len(response.body)).encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
