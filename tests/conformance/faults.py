"""Every way in which a provider fails, and what the gateway makes of it: the wall's table."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from tests.fakes.streaming import (
    COMMENT,
    DONE,
    GARBAGE,
    Piece,
    chunk,
    delta,
    finish,
    finish_connection,
    in_band_error,
    pause,
    reset_connection,
    role,
    usage,
    wait_to_be_left,
)
from tests.fakes.upstream import (
    Behaviour,
    answer,
    completion,
    drip,
    error,
    hang,
    hang_up,
    reset,
    send,
    status,
    stream,
)

Ends = Literal["served", "fallback", "rejected", "broken"]
"""``served`` by the first model, ``fallback``: by the second one, ``rejected``: the request is at
fault and nobody else is asked, ``broken``: an error inside a stream that had begun."""

GOOD = answer("Served well.", prompt_tokens=5, completion_tokens=3)
BEGUN = (role(), delta("Once "), delta("upon "))


@dataclass(frozen=True)
class Fault:
    """One row. ``classes``: the error classes that fit. A None has no sense in that mode."""

    name: str
    behave: Behaviour | Literal["refusing port", "resetting port"]
    classes: frozenset[str]
    buffered: Ends | None = "fallback"
    streamed: Ends | None = "fallback"
    calls: int | None = None
    """How often the first model is called; None: once, or once more."""


def _fault(
    name: str, behave: Any, classes: str, buffered: Ends | None = "fallback",
    streamed: Ends | None = "fallback", calls: int | None = None,
) -> Fault:  # fmt: skip
    return Fault(name, behave, frozenset(classes.split()), buffered, streamed, calls)


def _once(first: Behaviour, then: Behaviour = GOOD) -> Behaviour:
    """Behave badly for the first request of each mode only."""
    seen: set[bool] = set()

    def behave(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        mode = bool(request.get("stream"))
        behaviour = then if mode in seen else first
        seen.add(mode)
        behaviour(handler, request)

    return behave


def _limited_until(seconds: float) -> Behaviour:
    """Answer 429 with the instant, an HTTP date, until which the caller should wait."""

    def behave(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        error(429, "slow down", kind="rate_limit_exceeded", retry_after=until)(handler, request)

    return behave


def _limited_for(seconds: str) -> Behaviour:
    return error(429, "slow down", kind="rate_limit_exceeded", retry_after=seconds)


def _cut_gzip(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    whole = gzip.compress(json.dumps({"choices": [{"message": {"content": "x" * 500}}]}).encode())
    send(handler, 200, whole[: len(whole) // 2], content_encoding="gzip")


def _headers_then_nothing(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    handler.send_response(200)
    streams = request.get("stream")
    handler.send_header("content-type", "text/event-stream" if streams else "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    wait_to_be_left(handler)


def _dripping(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    if request.get("stream"):
        stream(*[step for _ in range(600) for step in (COMMENT, pause(0.05))])(handler, request)
    else:
        drip()(handler, request)


def _promises_more_than_it_sends(handler: BaseHTTPRequestHandler, _request: object) -> None:
    send(handler, 200, b'{"choices": [', content_length="1000")
    finish_connection(handler)


_HUGE = b'{"choices": [{"message": {"content": "' + b"x" * 6_000_000 + b'"}}]}'
_FILTERED = {
    "message": "The prompt was filtered.", "type": "invalid_request_error",
    "code": "content_filter", "param": "prompt",
}  # fmt: skip

FAULTS = (
    # Before anything of an answer: another model may be asked.
    _fault("connection refused", "refusing port", "connect"),
    _fault("reset at accept", "resetting port", "connect cut"),
    _fault("closed without a word", hang_up, "cut"),
    _fault("reset after the request", reset, "cut"),
    _fault("hangs before headers", hang, "first-byte-timeout timeout", None),
    _fault("hangs after headers", _headers_then_nothing, "first-byte-timeout timeout", None),
    _fault("drips without end", _dripping, "first-byte-timeout timeout", None),
    _fault("500", error(500), "upstream-5xx"),
    _fault("500 once", _once(error(500)), "upstream-5xx", "served", "served", calls=2),
    _fault("503, come back in a minute", error(503, retry_after="60"), "upstream-5xx", calls=1),
    _fault("429, come back in a second", _once(_limited_for("1")), "rate-limited",
           "served", "served", calls=2),
    _fault("429, come back at a date", _once(_limited_until(1)), "rate-limited",
           "served", "served", calls=2),
    _fault("429, come back too late", _limited_for("3600"), "rate-limited", calls=1),
    _fault("429, a date too late", _limited_until(3600), "rate-limited", calls=1),
    _fault("401", error(401, "bad key", kind="invalid_api_key"), "auth", calls=1),
    _fault("302", status(302, location="http://127.0.0.1:9/"), "upstream-5xx"),
    _fault("200, empty", status(200, b""), "empty malformed content-type"),
    _fault("200, HTML", status(200, b"<html>Sign in</html>", content_type="text/html"),
           "content-type"),
    _fault("200, JSON that breaks off", status(200, b'{"choices": ['),
           "malformed content-type"),
    _fault("200, JSON without choices", status(200, b'{"object": "list"}'),
           "malformed empty content-type"),
    _fault("200, no choice", status(200, b'{"choices": []}'), "malformed empty content-type"),
    _fault("200, huge", status(200, _HUGE), "too-large content-type"),
    _fault("200, gzip that breaks off", _cut_gzip, "cut malformed content-type"),
    _fault("200, fewer bytes than promised", _promises_more_than_it_sends, "cut content-type"),
    # The request itself is at fault: nobody else is asked.
    _fault("400", error(400, "max_tokens is too large", kind="invalid_value"), "rejected",
           "rejected", "rejected", calls=1),
    _fault("400, content filter", status(400, json.dumps({"error": _FILTERED}).encode()),
           "content-filter", "rejected", "rejected", calls=1),
    # Streams that fail before their first content.
    _fault("stream: ends at once", stream(), "empty cut", None),
    _fault("stream: [DONE] without content", stream(role(), DONE), "empty cut", None),
    _fault("stream: error at once", stream(in_band_error(500, "overloaded")), "upstream-5xx", None),
    _fault("stream: rate limit at once",
           stream(in_band_error(429, "slow down", "rate_limit_exceeded")), "rate-limited", None),
    _fault("stream: garbage at once", stream(GARBAGE, finish_connection), "malformed", None),
    _fault("stream: says its role and hangs", stream(role(), wait_to_be_left),
           "first-byte-timeout timeout", None),
    _fault("stream: one endless line", stream(Piece(b"data: " + b"x" * 6_000_000)),
           "too-large", None),
    # Streams that fail after it: the caller is told inside the stream.
    _fault("stream: cut in the middle", stream(*BEGUN, finish_connection), "cut", None, "broken"),
    _fault("stream: reset in the middle", stream(*BEGUN, reset_connection), "cut", None, "broken"),
    _fault("stream: ends in the middle", stream(*BEGUN), "cut", None, "broken"),
    _fault("stream: stalls in the middle", stream(*BEGUN, wait_to_be_left), "idle-timeout", None,
           "broken"),
    _fault("stream: error in the middle", stream(*BEGUN, in_band_error(500, "overloaded")),
           "upstream-5xx", None, "broken"),
    _fault("stream: rate limit in the middle",
           stream(*BEGUN, in_band_error(429, "slow down", "rate_limit_exceeded")),
           "rate-limited", None, "broken"),
    _fault("stream: garbage in the middle", stream(*BEGUN, GARBAGE, delta("a time"), DONE),
           "malformed", None, "broken"),
    # What a proxy says whose own provider broke off: an end that nobody gave a reason for.
    _fault("stream: [DONE] in the middle", stream(*BEGUN, DONE), "cut", None, "broken"),
    # Odd, but an answer.
    _fault("finished by the content filter",
           completion({"role": "assistant", "content": "Once"}, "content_filter",
                      prompt_tokens=5, completion_tokens=1),
           "content-filter", "served", "served", 1),
    _fault("stream: no [DONE]", stream(*BEGUN, finish(), usage(5, 2)), "", None, "served", 1),
    _fault("stream: no [DONE], cut after finishing", stream(*BEGUN, finish(), finish_connection),
           "", None, "served", 1),
    # A proxy whose own upstream broke off ends like this too: it must not pass for a whole answer.
    _fault("stream: no finish_reason", stream(*BEGUN, DONE), "cut", None, "broken"),
    _fault("stream: comments and an odd chunk between",
           stream(COMMENT, *BEGUN, COMMENT, chunk({"delta": {}}), finish(), DONE), "", None,
           "served", 1),
)  # fmt: skip
