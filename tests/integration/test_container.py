"""All domains as one ASGI service under a real server, where requests may not block each other."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from tests.fakes.lambda_client import LambdaClient
from tests.fakes.upstream import FakeUpstream, send
from tests.integration.conftest import ADMIN, process_with

THREADS = 4
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def container(admin: LambdaClient, registry: list[str]) -> Iterator[str]:
    """URL of the service; the registry and the administrator are there."""
    with process_with({"DAVINCI_DATABASE_CONNECTIONS": str(THREADS)}):
        from infra.local.asgi import create_service

        app = create_service()
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()


@pytest.fixture
def client(container: str, make_key: Callable[..., LambdaClient]) -> Iterator[httpx.Client]:
    token = make_key("chat", "route", "feedback", "read", "manage").token
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=container, headers=headers, timeout=10, trust_env=False) as client:
        yield client


def test_the_whole_way_through_one_service(client: httpx.Client) -> None:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    token = client.post("/api/auth/login", json=body).json()["access_token"]
    who = client.get("/api/auth/verify", headers={"authorization": f"Bearer {token}"}).json()
    assert who["role"] == "admin"
    served = client.post("/v1/chat/completions", json=CHAT)
    assert served.status_code == 200, served.text
    decision_id = served.headers["x-davinci-decision-id"]
    judged = client.post("/api/learning/feedback", json={"decision_id": decision_id, "score": 1})
    assert judged.status_code == 201
    decision = client.get(f"/api/neural/decisions/{decision_id}").json()
    assert decision["outcome"]["status"] == "success" and len(decision["feedback"]) == 1
    assert client.get("/api/models/test/small").json()["id"] == "test/small"
    for path in (
        "/health",
        "/api/status",
        "/api/neural/status",
        "/openapi.json",
        "/docs",
        "/metrics",
    ):
        assert client.get(path).status_code == 200, path


def test_slow_providers_do_not_make_each_other_wait(
    client: httpx.Client, upstream: FakeUpstream
) -> None:
    """Every call waits until all are there: one after the other they would never be."""
    together = threading.Barrier(THREADS, timeout=8)

    def wait(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        together.wait()
        choices = [{"message": {"role": "assistant", "content": "together"}}]
        send(handler, 200, json.dumps({"choices": choices}).encode())

    upstream.behaviours = {"small": wait, "large": wait}
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [
            pool.submit(client.post, "/v1/chat/completions", json=CHAT) for _ in range(THREADS)
        ]
        answers = [call.result() for call in calls]
    assert [a.status_code for a in answers] == [200] * THREADS, [a.text for a in answers]


def test_requests_that_wait_in_the_database_leave_room_for_others(
    client: httpx.Client, engine: sa.Engine
) -> None:
    headers = {"if-match": "*"}

    def change(_: int) -> int:
        path = "/api/models/test/small"
        return client.patch(path, json={"region": "eu"}, headers=headers).status_code

    with ThreadPoolExecutor(THREADS) as pool, engine.connect() as holder:
        holder.execute(sa.text("SELECT 1 FROM models WHERE id = 'test/small' FOR UPDATE"))
        waiting = [pool.submit(change, n) for n in range(THREADS - 1)]
        deadline = time.monotonic() + 5
        blocked = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with engine.connect() as watcher:
            while watcher.scalar(blocked) != THREADS - 1 and time.monotonic() < deadline:
                watcher.rollback()
                time.sleep(0.02)
            assert watcher.scalar(blocked) == THREADS - 1
        assert client.get("/api/models/test/large").status_code == 200
        assert not any(call.done() for call in waiting)
        holder.rollback()
        assert [call.result() for call in waiting] == [200] * (THREADS - 1)
    assert client.get("/api/models/test/small").json()["revision"] == THREADS


def test_more_requests_than_threads_wait_their_turn(client: httpx.Client) -> None:
    with ThreadPoolExecutor(24) as pool:
        calls = [
            pool.submit(client.post, "/api/neural/route", json={"prompt": f"{n}"})
            for n in range(72)
        ]
        statuses = [call.result().status_code for call in calls]
    assert statuses == [200] * 72


def test_bodies_are_limited_also_without_a_length(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(20):
            yield b"x" * 65_536
        yield b'"}'

    headers = {"content-type": "application/json"}
    refused = client.post("/api/neural/route", content=pieces(), headers=headers)
    assert refused.status_code == 413, refused.text
    assert refused.json()["type"].endswith("/content-too-large")
    refused = client.post("/v1/chat/completions", content=pieces(), headers=headers)
    assert refused.status_code == 413 and refused.json()["error"]["code"] == "content_too_large"


def test_errors_are_problems_here_too(client: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/api/nothing", 404), ("PUT", "/api/keys", 405), ("GET", "/api/keys/", 404),
        ("PATCH", "/api/models/test/small", 415),
    ):  # fmt: skip
        content = b"x" if status == 415 else None
        answer = client.request(method, path, content=content)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    allowed = client.request("PUT", "/api/keys").headers["allow"]
    assert set(allowed.split(", ")) == {"GET", "POST"}


@pytest.mark.anyio
async def test_messages_pass_one_by_one() -> None:
    """Streaming: what the application sends is out before it goes on."""
    from infra.local.asgi import Threaded

    order: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            order.append(f"read {message['body'].decode()}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(3):
            await send({"type": "http.response.body", "body": b"%d" % n, "more_body": n < 2})
            order.append(f"sent {n}")

    incoming = iter(
        [
            {"type": "http.request", "body": part, "more_body": part != b"c"}
            for part in (b"a", b"b", b"c")
        ]
    )

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            order.append(f"out {message['body'].decode()}")

    threaded = Threaded(application, 1)
    await threaded({"type": "http"}, receive, send)
    threaded.close()
    assert order == ["read a", "read b", "out 0", "sent 0", "out 1", "sent 1", "out 2", "sent 2"]


@pytest.mark.anyio
async def test_an_error_inside_reaches_the_server() -> None:
    from infra.local.asgi import Threaded

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("inside")

    async def never(*_: Any) -> Any:
        raise AssertionError

    threaded = Threaded(application, 1)
    with pytest.raises(LookupError, match="inside"):
        await threaded({"type": "http"}, never, never)
    threaded.close()
