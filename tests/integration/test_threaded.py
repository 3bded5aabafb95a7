"""Requests in threads under a real server: streams, clients that leave, slow ones, the end."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from shared.web.threaded import Threaded

Respond = Callable[[bytes], Response]
WAIT_S = 5.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Served:
    """A server in a thread of its own."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def serving(respond: Respond, *, threads: int = 4, grace_s: int | None = None) -> Iterator[Served]:
    """Serve what ``respond`` makes of each request's body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        await respond(body)(scope, receive, send)

    config = uvicorn.Config(
        Threaded(application, threads), http="httptools", log_level="critical", ws="none",
        lifespan="on", timeout_graceful_shutdown=grace_s,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Served(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive(), "the server does not end"


def test_a_part_is_out_before_the_next_is_made() -> None:
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    async def parts() -> AsyncIterator[bytes]:
        for n in range(4):
            if n:
                assert seen.get(timeout=WAIT_S) == b"%d" % (n - 1)
            yield b"%d" % n

    with (
        serving(lambda _: StreamingResponse(parts())) as served,
        httpx.stream("GET", served.url, timeout=WAIT_S) as answer,
    ):
        for part in answer.iter_raw():
            seen.put(part)
        assert seen.get(timeout=WAIT_S) == b"3"


def test_a_client_that_leaves_closes_the_generator_at_its_next_part() -> None:
    has_left, closed = threading.Event(), threading.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            has_left.wait(WAIT_S)  # blocks, as waiting for a provider does
            while True:
                yield b"for nobody"
        finally:
            closed.set()

    with serving(lambda _: StreamingResponse(parts())) as served:
        with httpx.stream("GET", served.url, timeout=WAIT_S) as answer:
            assert next(answer.iter_raw()) == b"first"
        has_left.set()
        assert closed.wait(1.0)


def test_generators_inside_generators_are_closed_too() -> None:
    closed: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def inner() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.put("inner")

    async def outer() -> AsyncIterator[bytes]:
        try:
            async for part in inner():
                yield part
        finally:
            closed.put("outer")

    with serving(lambda _: StreamingResponse(outer())) as served:
        with httpx.stream("GET", served.url, timeout=WAIT_S) as answer:
            next(answer.iter_raw())
        assert {closed.get(timeout=WAIT_S), closed.get(timeout=WAIT_S)} == {"inner", "outer"}


def test_a_thread_that_lost_its_client_serves_the_next_one() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    def respond(body: bytes) -> Response:
        return JSONResponse("here") if body else StreamingResponse(endless())

    with serving(respond, threads=1) as served:
        for _ in range(3):
            with httpx.stream("GET", served.url, timeout=WAIT_S) as answer:
                next(answer.iter_raw())
        assert httpx.post(served.url, content=b"1", timeout=WAIT_S).json() == "here"


def test_requests_wait_side_by_side() -> None:
    together = threading.Barrier(8, timeout=WAIT_S)

    def respond(_: bytes) -> Response:
        together.wait()
        return JSONResponse("together")

    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with serving(respond, threads=8) as served:

        def call() -> None:
            answers.put(httpx.get(served.url, timeout=WAIT_S).json())

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert [answers.get_nowait() for _ in range(8)] == ["together"] * 8


def test_a_client_that_sends_slowly_holds_no_thread() -> None:
    with (
        serving(lambda body: JSONResponse(len(body)), threads=1) as served,
        socket.create_connection(("127.0.0.1", served.port)) as slow,
    ):
        slow.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
        for _ in range(3):
            assert httpx.post(served.url, content=b"123", timeout=WAIT_S).json() == 3
        slow.sendall(b"67890")
        slow.settimeout(WAIT_S)
        answer = b""
        while not answer.endswith(b"\r\n\r\n10"):
            part = slow.recv(65_536)
            assert part, answer
            answer += part


def test_a_client_that_leaves_while_it_sends_is_forgotten() -> None:
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def respond(body: bytes) -> Response:
        bodies.put(body)
        return JSONResponse("done")

    with serving(respond, threads=1) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as sender:
            sender.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
        assert httpx.post(served.url, content=b"whole", timeout=WAIT_S).status_code == 200
    assert (bodies.get_nowait(), bodies.empty()) == (b"whole", True)


def test_what_is_in_work_is_finished_when_the_server_is_asked_to_stop() -> None:
    is_working, may_go_on = threading.Event(), threading.Event()

    def respond(_: bytes) -> Response:
        is_working.set()
        may_go_on.wait(WAIT_S)
        return JSONResponse("finished")

    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with serving(respond) as served:
        caller = threading.Thread(
            target=lambda: answers.put(httpx.get(served.url, timeout=WAIT_S).json())
        )
        caller.start()
        assert is_working.wait(WAIT_S)
        served.server.should_exit = True
        may_go_on.set()
        caller.join(WAIT_S)
    assert answers.get_nowait() == "finished"


def test_a_stream_that_outlives_the_grace_period_is_closed() -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    with (
        serving(lambda _: StreamingResponse(endless()), grace_s=1) as served,
        httpx.stream("GET", served.url, timeout=WAIT_S) as answer,
    ):
        next(answer.iter_raw())
        served.server.should_exit = True
        assert closed.wait(WAIT_S)


@pytest.mark.anyio
async def test_a_thread_is_never_far_ahead_of_a_slow_client() -> None:
    made = sent = 0
    ahead = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(20):
            made += 1
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": n < 19})

    async def slow_send(message: Any) -> None:
        nonlocal sent
        if message["type"] == "http.response.body":
            await asyncio.sleep(0.005)  # time enough for a thread that does not wait
            ahead.append(made - sent)
            sent += 1

    await run(application, slow_send)
    assert sent == 20
    assert max(ahead) <= 3


@pytest.mark.anyio
async def test_a_large_body_arrives_whole_and_in_order() -> None:
    parts = [bytes([n]) * 1000 for n in range(10)]
    got = b""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal got
        more = True
        while more:
            message = await receive()
            got += message["body"]
            more = message.get("more_body", False)

    incoming = iter(
        {"type": "http.request", "body": part, "more_body": part != parts[-1]} for part in parts
    )

    async def receive() -> Any:
        return next(incoming)

    await run(application, nowhere, receive, max_body_bytes=2500)
    assert got == b"".join(parts)


@pytest.mark.anyio
async def test_an_error_inside_reaches_the_server() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        await run(application, nowhere)


@pytest.mark.anyio
async def test_an_error_after_the_answer_is_told_to_the_servers_loop() -> None:
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.set_result(context["exception"])
    )

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse("fine")(scope, receive, send)
        raise LookupError("too late")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(json.loads(message.get("body", "null")))

    await run(application, send)
    assert sent == [None, "fine"]
    assert str(await asyncio.wait_for(told, WAIT_S)) == "too late"


def empty_request() -> Callable[[], Any]:
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.Event().wait()  # a client that stays
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def nowhere(_message: Any) -> None:
    pass


async def run(application: Any, send: Any, receive: Any = None, **options: Any) -> None:
    threaded = Threaded(application, 1, **options)
    try:
        await threaded({"type": "http"}, receive or empty_request(), send)
    finally:
        threaded.close()
