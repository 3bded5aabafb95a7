"""An OpenAI-compatible upstream on loopback whose behaviour a test scripts per model.

A behaviour answers one request. ``answer`` serves a buffered request and a stream alike; ``stream``
plays a script of pieces and steps, so that every way in which a stream can end is one line of a
test. The upstream keeps ``accounts``: what it would bill for each request, by its own rule that
four characters are one token. A buffered answer is billed when it is sent, a stream for what was
sent of it.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.streaming import (
    DONE,
    RESET_ON_CLOSE,
    Account,
    LeftError,
    Piece,
    Step,
    account_of,
    begin,
    chunk,
    count_tokens,
    delta,
    finish,
    is_left_within,
    leave_if,
    play,
    reset_connection,
    role,
    send_part,
    usage,
    usage_object,
    wait_to_be_left,
)

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def hang_up(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    """Close without a word."""
    handler.close_connection = True
    handler.connection.close()


def reset(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    """Answer with a RST."""
    reset_connection(handler)


def hang(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    """Take the request and never answer."""
    wait_to_be_left(handler)


def drip(byte: bytes = b" ", interval_s: float = 0.05) -> Behaviour:
    """Begin an answer and send one byte of it each interval, without end."""

    def behave(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
        begin(handler, 200, "application/json", {})
        with suppress(OSError, LeftError):
            while True:
                send_part(handler, byte)
                leave_if(is_left_within(handler, interval_s))
        handler.close_connection = account_of(handler).is_left = True

    return behave


# Behaviours.


def answer(text: str = "Hello.", **counts: int) -> Behaviour:
    """Answer properly, whole or as a stream of words; ``counts`` are the usage, if any."""
    return completion({"role": "assistant", "content": text}, "stop", **counts)


def completion(
    message: Mapping[str, Any], finish_reason: str = "stop", **counts: int
) -> Behaviour:  # fmt: skip
    """Answer with this message; a stream says its content word by word."""

    def behave(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        account, text = account_of(handler), message.get("content") or ""
        if request.get("stream"):
            play(handler, _script(message, finish_reason, counts, request))
            if counts:
                account.tokens_in = counts.get("prompt_tokens", account.tokens_in)
                account.tokens_out = counts.get("completion_tokens", account.tokens_out)
            return
        choice = {"finish_reason": finish_reason, "message": dict(message), "logprobs": None}
        body = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
            "model": request["model"],
            "choices": [{"index": n, **choice} for n in range(request.get("n") or 1)],
        }  # fmt: skip
        if counts:
            body["usage"] = {**counts, "total_tokens": sum(counts.values())}
        account.tokens_in = counts.get("prompt_tokens", account.tokens_in)
        account.tokens_out = counts.get("completion_tokens", count_tokens(text))
        account.is_served = True
        send(handler, 200, json.dumps(body).encode())

    return behave


def stream(*script: Piece | Step, content_type: str = "text/event-stream") -> Behaviour:
    """Play a script of pieces and steps, whatever the request asked for."""
    return lambda handler, _request: play(handler, script, content_type)


def status(code: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    """Answer with an error."""
    return lambda handler, _request: send(handler, code, body, **headers)


def error(code: int, message: str = "No.", *, kind: str = "", **headers: str) -> Behaviour:
    """Answer with OpenAI's error object."""
    group = "invalid_request_error" if code < 500 else "server_error"
    body = {"error": {"message": message, "type": group, "param": None, "code": kind or None}}
    return status(code, json.dumps(body).encode(), **headers)


def embeddings(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """Answer with vectors of three numbers, in the asked encoding; input n is [n, 0.5, -1]."""
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    account = account_of(handler)
    account.is_served = True
    count = usage_object(account.tokens_in, 0)
    body = {
        "object": "list", "model": request["model"],
        "data": [
            {"object": "embedding", "index": n, "embedding": _vector(n, request)}
            for n, _ in enumerate(texts)
        ],
        "usage": {name: count[name] for name in ("prompt_tokens", "total_tokens")},
    }  # fmt: skip
    send(handler, 200, json.dumps(body).encode())


def send(handler: BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    """Send a whole answer; an underscore in a header's name stands for a hyphen."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    handler.send_response(code)
    for name, value in {"content-type": "application/json", **given}.items():
        handler.send_header(name, value)
    if "content-length" not in given:
        handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    # Who was not let finish has left: a cut or refused answer is no error of the upstream.
    with suppress(OSError):
        handler.wfile.write(body)


class FakeUpstream:
    """The server; ``behaviours`` by upstream model name, ``requests`` as they came in."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.accounts: list[Account] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes
            account: Account

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name = str(request.get("user", len(outer.requests)))
                self.account = Account(name, request["model"], _prompt_tokens(request))
                outer.requests.append(request)
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                outer.accounts.append(self.account)
                embeds = self.path.endswith("/embeddings")
                default = embeddings if embeds else _DEFAULT
                outer.behaviours.get(request["model"], default)(self, request)

            def log_message(self, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def reset(self) -> None:
        self.behaviours.clear()
        self.requests.clear()
        self.headers.clear()
        self.accounts.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield
        self._server.shutdown()
        self._server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: that the other side leaves is what many tests are about."""


@contextmanager
def refusing_port() -> Iterator[str]:
    """Yield the URL of a port at which every connection is refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, so nobody else gets it, and not listening
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1"


@contextmanager
def resetting_port() -> Iterator[str]:
    """Yield the URL of a port at which every connection is reset as soon as it is made."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _script(
    message: Mapping[str, Any], reason: str, counts: Mapping[str, int], request: dict[str, Any]
) -> list[Piece | Step]:
    words = (message.get("content") or "").split(" ")
    spoken = [w + " " for w in words[:-1]] + words[-1:]
    calls = [
        chunk({"delta": {"tool_calls": [{"index": n, **call}]}}, text=json.dumps(call))
        for n, call in enumerate(message.get("tool_calls") or ())
    ]
    script: list[Piece | Step] = [role(), *(delta(word) for word in spoken if word), *calls]
    script.append(finish(reason))
    if counts and (request.get("stream_options") or {}).get("include_usage"):
        script.append(usage(counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)))
    return [*script, DONE]


def _prompt_tokens(request: Mapping[str, Any]) -> int:
    texts = request.get("input", [m.get("content") for m in request.get("messages", ())])
    texts = [texts] if isinstance(texts, str) else texts
    return sum(count_tokens(text) for text in texts if isinstance(text, str))


def _vector(place: int, request: Mapping[str, Any]) -> list[float] | str:
    vector = [float(place), 0.5, -1.0]
    if request.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack("<3f", *vector)).decode()
    return vector


_DEFAULT = answer(prompt_tokens=10, completion_tokens=20)
