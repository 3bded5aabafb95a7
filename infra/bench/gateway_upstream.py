"""A loopback model that answers at once: what a gateway adds is measured against it.

``python -m infra.bench.gateway_upstream`` serves OpenAI's chat completions on a free port, which it
prints, until its standard input closes. It reads a request only as far as it must (is it whole?),
so that its own time is small against what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

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
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + _END_OF_HEAD + body


_ANSWER = _whole_answer()


class Model(asyncio.Protocol):
    """One kept-alive connection; a request is answered as soon as it is whole."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and self._take_request():
            self._transport.write(_ANSWER)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def _take_request(self) -> bool:
        """Remove the first request if it is whole; say whether it was."""
        head, end, rest = self._buffer.partition(_END_OF_HEAD)
        start = head.lower().find(b"content-length:")
        if not end or start < 0:
            return False
        length = int(head[start + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return False
        self._buffer = rest[length:]
        return True


async def serve() -> None:
    """Serve until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Model, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
