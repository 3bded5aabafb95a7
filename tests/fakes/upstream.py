"""An OpenAI-compatible upstream on loopback whose behaviour a test scripts per model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def answer(text: str = "Hello.", **usage: int) -> Behaviour:
    """Answer properly."""

    def behave(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        body = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
            "model": request["model"],
            "choices": [
                {"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": text}}
            ],
        }  # fmt: skip
        if usage:
            body["usage"] = {**usage, "total_tokens": sum(usage.values())}
        send(handler, 200, json.dumps(body).encode())

    return behave


def status(code: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    """Answer with an error."""
    return lambda handler, _request: send(handler, code, body, **headers)


def hang_up(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    """Close without a word."""
    handler.close_connection = True
    handler.connection.close()


def send(handler: BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    handler.send_response(code)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


class FakeUpstream:
    """The server; ``behaviours`` by upstream model name, ``requests`` as they came in."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append(request)
                outer.behaviours.get(request["model"], _DEFAULT)(self, request)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def reset(self) -> None:
        self.behaviours.clear()
        self.requests.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield
        self._server.shutdown()
        self._server.server_close()
        thread.join()


_DEFAULT = answer(prompt_tokens=10, completion_tokens=20)
