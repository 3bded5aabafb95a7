"""What an upstream says in a stream and how the stream ends, and what it bills for it.

A script is a sequence of pieces, which are sent, and steps, which pause or cut; so every way in
which a stream can end is one line of a test.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

Step = Callable[[BaseHTTPRequestHandler], None]

CHARACTERS_PER_TOKEN = 4
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LONGEST_WAIT_S = 30.0


@dataclass(slots=True)
class Account:
    """What the upstream would bill for one request; ``name`` is the request's ``user``."""

    name: str
    model: str
    tokens_in: int
    tokens_out: int = 0
    chunks: int = 0
    is_served: bool = False
    """Something of an answer was sent; what fails before that is not billed."""
    is_left: bool = False
    """The other side closed the connection while the answer was under way."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One server-sent event; ``text`` is what it adds to the answer."""

    data: bytes
    text: str = ""


# Pieces of a stream.


def chunk(choice: Mapping[str, Any] | None, *, text: str = "", **more: Any) -> Piece:
    """Return a chunk with one choice, or with none."""
    body = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream",
        "choices": [] if choice is None else [{"index": 0, "finish_reason": None, **choice}],
        **more,
    }  # fmt: skip
    return Piece(b"data: " + json.dumps(body).encode() + b"\n\n", text)


def role() -> Piece:
    """Return the first chunk of OpenAI's streams, which says nothing yet."""
    return chunk({"delta": {"role": "assistant", "content": ""}})


def delta(text: str) -> Piece:
    return chunk({"delta": {"content": text}}, text=text)


def finish(reason: str = "stop") -> Piece:
    return chunk({"delta": {}, "finish_reason": reason})


def usage(tokens_in: int, tokens_out: int) -> Piece:
    return chunk(None, usage=usage_object(tokens_in, tokens_out))


def in_band_error(code: int, message: str, kind: str = "server_error") -> Piece:
    """Return an error inside a stream that began well."""
    error = {"message": message, "type": kind, "code": code}
    return Piece(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")


DONE = Piece(b"data: [DONE]\n\n")
GARBAGE = Piece(b"data: {not json\n\n")
COMMENT = Piece(b": keep-alive\n\n")


# Steps of a stream, and behaviours of their own.


def finish_connection(handler: BaseHTTPRequestHandler) -> None:
    """Close in order, with a FIN, whatever was promised."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def reset_connection(handler: BaseHTTPRequestHandler) -> None:
    """Close with a RST."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    handler.rfile.close()  # it keeps the socket open
    handler.connection.close()


def wait_to_be_left(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing until the other side closes the connection."""
    handler.close_connection = True
    if is_left_within(handler, _LONGEST_WAIT_S):
        account_of(handler).is_left = True


def pause(seconds: float) -> Step:
    """Return a step that says nothing for a while."""
    return lambda handler: leave_if(is_left_within(handler, seconds))


def until(event: threading.Event) -> Step:
    """Return a step that waits for the test, or for the other side to leave."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        ends_at = time.monotonic() + _LONGEST_WAIT_S
        while not event.is_set() and time.monotonic() < ends_at:
            leave_if(is_left_within(handler, 0.01))

    return step


def account_of(handler: BaseHTTPRequestHandler) -> Account:
    """Return the account of the request that is being answered."""
    return cast("Account", handler.account)  # type: ignore[attr-defined]


class LeftError(Exception):
    """The other side closed the connection."""


def leave_if(is_left: bool) -> None:
    if is_left:
        raise LeftError


def is_left_within(handler: BaseHTTPRequestHandler, seconds: float) -> bool:
    """Wait; return early, and True, when the other side closes."""
    try:
        readable, _, _ = select.select([handler.connection], [], [], seconds)
        return bool(readable) and handler.connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def begin(
    handler: BaseHTTPRequestHandler, code: int, content_type: str, headers: Mapping[str, str]
) -> None:
    handler.send_response(code)
    handler.send_header("content-type", content_type)
    handler.send_header("transfer-encoding", "chunked")
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def send_part(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def play(
    handler: BaseHTTPRequestHandler, script: Sequence[Piece | Step],
    content_type: str = "text/event-stream",
) -> None:  # fmt: skip
    account, said = account_of(handler), ""
    try:
        begin(handler, 200, content_type, {"x-request-id": f"up-{account.name}"})
        for step in script:
            if isinstance(step, Piece):
                send_part(handler, step.data)
                said += step.text
                account.chunks += bool(step.text)
                account.is_served = account.is_served or bool(step.text)
                account.tokens_out = count_tokens(said)
            else:
                step(handler)
        if not handler.close_connection:
            handler.wfile.write(b"0\r\n\r\n")
    except (OSError, LeftError):
        account.is_left = handler.close_connection = True


def usage_object(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }


def count_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
