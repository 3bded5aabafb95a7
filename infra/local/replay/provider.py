"""The replay upstream: an OpenAI-compatible server on loopback that answers from recordings.

Plain ASGI without a framework: it shares two cores with the system it feeds.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from infra.local.replay import replies
from infra.local.replay.replies import Completion, Json, UpstreamError
from infra.local.replay.traffic import Traffic, load_traffic
from shared.kit.clock import utc_now

TIME_SCALE_VARIABLE = "DAVINCI_REPLAY_TIME_SCALE"
_BODY_LIMIT = 10 * 1024 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class ReplayApp:
    """The ASGI application.

    Parameters
    ----------
    time_scale : float
        Share of the simulated latency that is really slept: 0 answers at once, 1 takes as long
        as the recorded model would have.
    """

    def __init__(self, traffic: Traffic, *, time_scale: float = 0.0) -> None:
        self._traffic = traffic
        self._time_scale = time_scale

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; a refusal is answered in OpenAI's error shape."""
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except UpstreamError as error:
            await _send_json(send, error.status, error.body)

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"].removeprefix("/v1")
        if path == "/chat/completions":
            _require(method, "POST", path)
            await self._chat(await _body(receive), send)
        elif path == "/models":
            _require(method, "GET", path)
            await _send_json(send, 200, replies.model_list(self._traffic))
        elif path.startswith("/models/"):
            _require(method, "GET", path)
            await _send_json(send, 200, _one_model(self._traffic, path.removeprefix("/models/")))
        elif path == "/health":
            await _send_json(send, 200, {"status": "ok"})
        else:
            message = f"Unknown request URL: {method} {scope['path']}"
            raise UpstreamError(404, message, code="unknown_url", param=None)

    async def _chat(self, body: bytes, send: Send) -> None:
        request = _decode(body)
        made = replies.complete(
            self._traffic,
            request,
            completion_id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(utc_now().timestamp()),
        )
        headers = [
            (b"openai-processing-ms", str(made.latency_ms).encode()),
            (b"x-request-id", f"req_{secrets.token_hex(16)}".encode()),
            (b"x-davinci-latency", b"simulated"),
        ]
        if request.get("stream") is True:
            options = request.get("stream_options")
            include_usage = isinstance(options, dict) and options.get("include_usage") is True
            chunks = list(made.as_chunks(include_usage=include_usage))
            await self._stream(send, made, headers, chunks)
            return
        await self._sleep_ms(made.latency_ms)
        await _send_json(send, 200, made.as_object(), headers)

    async def _stream(
        self, send: Send, made: Completion, headers: Headers, chunks: list[Json]
    ) -> None:
        await self._sleep_ms(made.first_token_ms)
        event_stream = [(b"content-type", b"text/event-stream; charset=utf-8"), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": event_stream})
        pause_ms = max(0, made.latency_ms - made.first_token_ms) / len(chunks)
        for chunk in chunks:
            await _send_part(send, b"data: " + _encode(chunk) + b"\n\n")
            await self._sleep_ms(pause_ms)
        await _send_part(send, b"data: [DONE]\n\n")
        await send({"type": "http.response.body", "body": b""})

    async def _sleep_ms(self, latency_ms: float) -> None:
        if self._time_scale > 0:
            await asyncio.sleep(latency_ms * self._time_scale / 1000)


def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    traffic: Traffic | None = None,
    time_scale: float | None = None,
    on_ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until SIGINT or SIGTERM; the target of a process or of a thread.

    Parameters
    ----------
    port : int
        Port to listen on; 0 takes a free one.
    time_scale : float, optional
        See ``ReplayApp``; by default ``DAVINCI_REPLAY_TIME_SCALE``, else 0.
    on_ready : callable
        Called with the bound port as soon as connections are accepted.

    Raises
    ------
    OSError
        If the port is taken.
    """
    with socket.create_server((host, port), backlog=128) as listener:
        on_ready(listener.getsockname()[1])
        server_for(traffic or load_traffic(), time_scale).run(sockets=[listener])


def server_for(traffic: Traffic, time_scale: float | None = None) -> uvicorn.Server:
    """Return the uvicorn server of this upstream, not yet listening."""
    if time_scale is None:
        time_scale = float(os.environ.get(TIME_SCALE_VARIABLE) or 0.0)
    config = uvicorn.Config(
        ReplayApp(traffic, time_scale=time_scale),
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def _one_model(traffic: Traffic, name: str) -> Json:
    index = traffic.model_index(name)
    if index is None:
        message = f"The model '{name}' does not exist in the recordings."
        raise UpstreamError(404, message, code="model_not_found", param="model")
    return replies.model_object(traffic.models[index])


def _require(method: str, allowed: str, path: str) -> None:
    if method != allowed:
        message = f"Not allowed to {method} on {path}; use {allowed}."
        raise UpstreamError(405, message, code="method_not_supported", param=None)


async def _body(receive: Receive) -> bytes:
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UpstreamError(400, "the request ended early", code=None, param=None)
        parts += message.get("body", b"")
        if len(parts) > _BODY_LIMIT:
            raise UpstreamError(413, "the request is larger than 10 MB", code=None, param=None)
        if not message.get("more_body"):
            return bytes(parts)


def _decode(body: bytes) -> Json:
    try:
        request = json.loads(body)
    except ValueError as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise UpstreamError(400, message, code=None, param=None) from error
    if not isinstance(request, dict):
        raise UpstreamError(400, "the body must be a JSON object", code=None, param=None)
    return request


def _encode(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _send_json(send: Send, status: int, body: Json, headers: Headers | None = None) -> None:
    content = _encode(body)
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    start = {"type": "http.response.start", "status": status, "headers": fixed + (headers or [])}
    await send(start)
    await send({"type": "http.response.body", "body": content})


async def _send_part(send: Send, content: bytes) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": True})
