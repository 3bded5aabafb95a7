"""Streams from providers that stop, stall and change their minds."""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.config import Settings
from shared.providers.chat import stream_chat
from shared.providers.client import UpstreamClient
from shared.providers.deadline import Deadline
from shared.providers.failures import UpstreamCallError
from shared.providers.stream import ChatStream, Chunk, Usage
from shared.providers.upstream import Upstream
from tests.fakes.scripted import Script, ScriptedServer, chunked, document, events, head

PAYLOAD = {"model": "auto", "messages": [{"role": "user", "content": "2 + 2?"}]}
WANTS_USAGE = {**PAYLOAD, "stream": True, "stream_options": {"include_usage": True}}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
DONE = b"[DONE]"


def delta(content: str | None = None, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    said = {"role": "assistant", "content": ""} if content is None else {"content": content}
    return {"id": "c1", "choices": [{"index": index, "delta": said, "finish_reason": reason}]}


ROLE, HEL, LO, STOP = delta(), delta("Hel"), delta("lo."), delta("", "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    with server.running():
        yield server


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[UpstreamClient]:
    client = UpstreamClient(
        Settings(
            database_url=SecretStr("postgresql+pg8000://nowhere"),
            upstream_first_byte_timeout_s=0.4,
            upstream_idle_timeout_s=0.25,
        )
    )
    yield client
    client.close()


def open_stream(
    client: UpstreamClient, server: ScriptedServer, script: Script, *,
    payload: dict[str, Any] = PAYLOAD, deadline_s: float = 5.0, provider: str = "vllm",
) -> ChatStream:  # fmt: skip
    server.reset(script)
    upstream = Upstream("test/model", provider, server.url, "real-name", None, "measured")
    return stream_chat(client, upstream, payload, Deadline.after(deadline_s))


def refused(client: UpstreamClient, server: ScriptedServer, script: Script, **more: Any) -> str:
    """Return the class of the failure that keeps a stream from being opened."""
    with pytest.raises(UpstreamCallError) as caught:
        open_stream(client, server, script, **more)
    assert caught.value.latency_ms > 0
    return caught.value.error_class


def broken(stream: ChatStream) -> tuple[list[Chunk], UpstreamCallError]:
    """Return what an opened stream yields before it fails, and the failure."""
    chunks: list[Chunk] = []
    with pytest.raises(UpstreamCallError) as caught, stream:
        chunks.extend(stream)
    return chunks, caught.value


def raw(*documents: object) -> list[bytes]:
    return [b"data: " + json.dumps(item).encode() + b"\n\n" for item in documents]


def test_a_stream_is_passed_on_as_it_came(client: UpstreamClient, server: ScriptedServer) -> None:
    script = events(ROLE, HEL, LO, STOP, USAGE, DONE)
    with open_stream(client, server, script) as stream:
        assert [chunk.raw for chunk in stream] == raw(ROLE, HEL, LO, STOP)
    assert stream.text == "Hello." and stream.text_chars == 6
    assert stream.usage == Usage(3, 4) and stream.usage_source == "provider"
    assert stream.finish_reason == "stop" and not stream.filtered
    assert 0 < stream.first_byte_ms <= stream.measured_ms == stream.latency_ms
    sent = server.requests[0]
    assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}
    assert sent["model"] == "real-name"


def test_usage_is_passed_on_to_who_asked_for_it(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    script = events(HEL, STOP, USAGE, DONE)
    with open_stream(client, server, script, payload=WANTS_USAGE) as stream:
        assert [chunk.raw for chunk in stream] == raw(HEL, STOP, USAGE)


def test_a_provider_that_refuses_stream_options_is_not_sent_any(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    script = events(HEL, {**STOP, "usage": USAGE["usage"]}, DONE)
    with open_stream(client, server, script, payload=WANTS_USAGE, provider="mistral") as stream:
        assert len(list(stream)) == 2
    assert stream.usage == Usage(3, 4)
    assert "stream_options" not in server.requests[0]


@pytest.mark.parametrize("seed", range(6))
def test_any_pieces_of_a_recorded_stream_yield_the_same_chunks(
    client: UpstreamClient, server: ScriptedServer, seed: int
) -> None:
    document = delta("é한🎨")
    script = events(
        ROLE, document, HEL, STOP, USAGE, DONE, pieces=random.Random(seed).randint(1, 90)
    )
    with open_stream(client, server, script, payload=WANTS_USAGE) as stream:
        assert [chunk.raw for chunk in stream] == raw(ROLE, document, HEL, STOP, USAGE)
    assert stream.text == "é한🎨Hel"


def test_opening_waits_for_content_and_keeps_what_came_before(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    says = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(head(content_type="text/event-stream"))
        connection.sendall(b": hello\n\n" + raw(ROLE)[0])
        says.wait(5)
        connection.sendall(b"".join(raw(HEL, STOP)))
        raise ConnectionAbortedError

    timer = threading.Timer(0.15, says.set)
    timer.start()
    with open_stream(client, server, script) as stream:
        assert says.is_set()
        assert [chunk.raw for chunk in stream] == raw(ROLE, HEL, STOP)
    timer.join()


@pytest.mark.parametrize(
    "script",
    [
        events(HEL, STOP),
        events(HEL, STOP, DONE),
        events(HEL, STOP, ends=False),
        events(HEL, STOP, USAGE, DONE, ROLE),
        events(HEL, STOP, DONE, b"{garbage"),
        events(HEL, delta(" there", "length"), DONE),
        events(STOP, DONE),
        events(b"", HEL, b" ", STOP, DONE),
    ],
)
def test_an_answer_that_said_why_it_ended_is_whole(
    client: UpstreamClient, server: ScriptedServer, script: Script
) -> None:
    with open_stream(client, server, script) as stream:
        list(stream)
    assert stream.finish_reason in {"stop", "length"}


def test_a_provider_that_lingers_after_the_end_is_not_waited_for(
    client: UpstreamClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.providers.stream._AFTER_END_S", 0.1)

    def script(connection: socket.socket) -> None:
        connection.sendall(head(content_type="text/event-stream") + b"".join(raw(HEL, STOP)))
        server.hung_up.wait(5)

    with open_stream(client, server, script) as stream:
        assert [chunk.raw for chunk in stream] == raw(HEL, STOP)


@pytest.mark.parametrize(
    "script",
    [
        events(HEL),
        events(HEL, DONE),
        events(HEL, ends=False),
        lambda c: c.sendall(
            head(content_type="text/event-stream", content_length=2 * len(raw(HEL)[0]) - 9)
            + raw(HEL)[0] * 2
        ),
        events(HEL, delta("x", index=1), delta("", "stop", index=1), DONE),
    ],
)
def test_an_answer_that_did_not_is_cut(
    client: UpstreamClient, server: ScriptedServer, script: Script
) -> None:
    chunks, failure = broken(open_stream(client, server, script))
    assert failure.error_class == "cut"
    assert chunks[0].raw == raw(HEL)[0] and failure.latency_ms > 0


def test_an_answer_of_which_a_choice_is_missing_is_cut(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    two = {**PAYLOAD, "n": 2}
    _chunks, failure = broken(open_stream(client, server, events(HEL, STOP), payload=two))
    assert failure.error_class == "cut"
    with open_stream(client, server, events(HEL, STOP, DONE), payload=two) as stream:
        assert len(list(stream)) == 2


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, "rate-limited"),
        ({"error": {"type": "overloaded_error"}}, "upstream-5xx"),
        ({"error": {"code": "content_filter"}}, "content-filter"),
        (b"{garbage", "malformed"),
        (delta("", "error"), "upstream-5xx"),
        (delta("x" * 1_100_000), "too-large"),
    ],
)
def test_what_goes_wrong_later_is_never_an_end(
    client: UpstreamClient, server: ScriptedServer, item: object, expected: str
) -> None:
    chunks, failure = broken(open_stream(client, server, events(ROLE, HEL, item, STOP, DONE)))
    assert [chunk.raw for chunk in chunks] == raw(ROLE, HEL)
    assert failure.error_class == expected and failure.status == 200


def stream_of(*pieces: bytes, pause_s: float = 0.0, then_s: float = 0.0) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(head(content_type="text/event-stream", transfer_encoding="chunked"))
        for piece in pieces:
            connection.sendall(chunked(piece))
            time.sleep(pause_s)
        time.sleep(then_s)

    return script


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (events(DONE), "empty"),
        (events(), "empty"),
        (
            lambda c: c.sendall(
                head(content_type="text/event-stream", content_length=9) + b'data: {"c'
            ),
            "cut",
        ),
        (events(ROLE, DONE), "cut"),
        (events(ROLE, ends=False), "cut"),
        (events({"error": {"code": 429}}), "rate-limited"),
        (events(b"{garbage"), "malformed"),
        (document({"error": {"message": "slow"}}, 429), "rate-limited"),
        (document({"error": {"message": "?"}}), "upstream-5xx"),
        (document({"choices": [{"message": {"content": "whole"}}]}), "content-type"),
        (document(b"<html>", content_type="text/html"), "content-type"),
        (document(b"", 503), "upstream-5xx"),
        (stream_of(then_s=2.0), "first-byte-timeout"),
        (stream_of(raw(ROLE)[0], then_s=2.0), "first-byte-timeout"),
        # Signs of life without content: nobody is told to wait for ever.
        (stream_of(*[b": alive\n\n"] * 40, pause_s=0.05), "first-byte-timeout"),
    ],
)
def test_before_the_first_content_another_model_may_try(
    client: UpstreamClient, server: ScriptedServer, script: Script, expected: str
) -> None:
    assert refused(client, server, script) == expected


@pytest.mark.parametrize(
    ("script", "deadline_s", "expected"),
    [
        (stream_of(raw(HEL)[0], then_s=2.0), 5.0, "idle-timeout"),
        # An event that never ends, byte by byte.
        (stream_of(raw(HEL)[0], *[b"x"] * 40, pause_s=0.05), 5.0, "idle-timeout"),
        (stream_of(raw(HEL)[0], *raw(LO) * 40, pause_s=0.05), 0.5, "timeout"),
        (stream_of(raw(HEL)[0], *[b": alive\n"] * 40, pause_s=0.05), 0.5, "timeout"),
    ],
)
def test_a_stream_that_stalls_is_left_in_time(
    client: UpstreamClient, server: ScriptedServer, script: Script, deadline_s: float, expected: str
) -> None:
    started_at = time.monotonic()
    _chunks, failure = broken(open_stream(client, server, script, deadline_s=deadline_s))
    assert failure.error_class == expected
    assert time.monotonic() - started_at < 1.5


def test_keep_alives_keep_a_stream_alive(client: UpstreamClient, server: ScriptedServer) -> None:
    alive = [b": alive\n"] * 8
    script = stream_of(raw(HEL)[0], *alive, raw(STOP)[0] + b"data: [DONE]\n\n", pause_s=0.06)
    with open_stream(client, server, script) as stream:
        assert len(list(stream)) == 2


def test_a_slow_reader_is_not_the_providers_fault(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    script = events(HEL, LO, STOP, DONE, pieces=30)
    with open_stream(client, server, script) as stream:
        for chunk in stream:
            if chunk.raw == raw(LO)[0]:
                time.sleep(0.4)
    assert stream.text == "Hello."


def test_a_finished_connection_is_used_again_and_a_canceled_one_is_closed_at_once(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    server.reset(events(HEL, STOP, DONE))
    upstream = Upstream("test/model", "vllm", server.url, "real-name", None, "measured")
    for _ in range(3):
        with stream_chat(client, upstream, PAYLOAD, Deadline.after(5)) as stream:
            list(stream)
    assert server.connections == 1
    server.reset(stream_of(*raw(HEL) * 200, pause_s=0.02))
    stream = stream_chat(client, upstream, PAYLOAD, Deadline.after(5))
    assert next(iter(stream)).raw == raw(HEL)[0]
    assert not server.hung_up.is_set()
    stream.close()
    stream.close()
    assert server.hung_up.wait(1.0)


def test_a_wait_can_be_ended_from_another_thread_at_any_moment(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    """Also while the reader is just about to wait: its descriptor must still be its own."""
    for turn in range(60):
        stream = open_stream(client, server, stream_of(raw(HEL)[0], then_s=60.0))
        timer = threading.Timer(turn * 2e-5, stream.interrupt)
        timer.start()
        started_at = time.monotonic()
        _chunks, failure = broken(stream)
        stream.close()
        timer.join()
        assert failure.error_class == "cut" and time.monotonic() - started_at < 5


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
def test_ending_a_wait_leaves_the_descriptor_to_the_reader(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    """Freed by another thread, its number may be somebody else's when the reader waits on it."""
    stream = open_stream(client, server, stream_of(raw(HEL)[0], then_s=60.0))
    held = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_socket()]
    stream.interrupt()
    assert [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_socket()] == held
    broken(stream)
    stream.close()
    assert len([fd for fd in Path("/proc/self/fd").iterdir() if fd.is_socket()]) < len(held)


def test_ending_a_wait_after_the_end_does_not_touch_the_next_request(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    first = open_stream(client, server, events(HEL, LO, STOP, DONE))
    list(first)
    first.close()
    second = open_stream(client, server, events(HEL, LO, STOP, DONE))
    assert server.connections == 0, "it has the connection of the first"
    first.interrupt()
    list(second)
    second.close()


def test_what_the_filter_ended_is_whole_and_says_so(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    with open_stream(client, server, events(HEL, delta("", "content_filter"), DONE)) as stream:
        assert len(list(stream)) == 2
    assert stream.filtered and stream.finish_reason == "content_filter"


def test_who_waits_for_the_end_is_told_of_a_whole_answer_only(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    ends: list[str] = []
    stream = open_stream(client, server, events(HEL))
    stream.on_finish(lambda: ends.append("cut"))
    broken(stream)
    stream = open_stream(client, server, events(HEL, STOP, DONE))
    stream.on_finish(lambda: ends.append("whole"))
    with stream:
        list(stream)
    assert ends == ["whole"]
