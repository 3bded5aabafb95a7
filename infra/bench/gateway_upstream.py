"""A loopback model that answers at once: what a gateway adds is measured against it.

``python -m infra.bench.gateway_upstream`` serves OpenAI's chat completions on a free port, which it
prints, until its standard input closes. It reads a request only as far as it must (is it whole, is
it a stream), so that its own time is small against what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

_TEXT = "Paris is the capital of France, and has been for most of its history."
_USAGE = {"prompt_tokens": 24, "completion_tokens": 16, "total_tokens": 40}
_END_OF_HEAD = b"\r\n\r\n"


def _whole_answer() -> bytes:
    message = {"role": "assistant", "content": _TEXT}
    body = json.dumps(
        {
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_700_000_000,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode()  # fmt: skip
    return _head("application/json", f"content-length: {len(body)}") + body


def _streamed_answer() -> bytes:
    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        body = {
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "bench", "choices": choices, **more,
        }  # fmt: skip
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    events = [
        event([{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}])
        for word in _TEXT.split(" ")
    ]
    events.append(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    events += [event([], usage=_USAGE), b"data: [DONE]\n\n"]
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in events)
    return _head("text/event-stream", "transfer-encoding: chunked") + parts + b"0\r\n\r\n"


def _head(content_type: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n".encode()


_WHOLE, _STREAMED = _whole_answer(), _streamed_answer()


class Model(asyncio.Protocol):
    """One kept-alive connection; a request is answered as soon as it is whole."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and (body := self._take_request()) is not None:
            is_stream = b'"stream":true' in body or b'"stream": true' in body
            self._transport.write(_STREAMED if is_stream else _WHOLE)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def _take_request(self) -> bytes | None:
        head, end, rest = self._buffer.partition(_END_OF_HEAD)
        start = head.lower().find(b"content-length:")
        if not end or start < 0:
            return None
        length = int(head[start + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        return rest[:length]


async def serve() -> None:
    """Serve until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Model, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
