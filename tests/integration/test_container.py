"""All domains as one ASGI service under a real server, where requests may not block each other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared.db.tables import decisions
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.streaming import DONE, delta, finish, pause, role, until
from tests.fakes.upstream import FakeUpstream, answer, send, stream
from tests.integration.conftest import ADMIN
from tests.integration.container import CONNECTIONS, THREADS, container_with
from tests.integration.gateway import Books

TURNS = CONNECTIONS // 2  # of threads
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
def container(admin: LambdaClient, registry: list[str]) -> Iterator[str]:
    """URL of the service; the registry and the administrator are there."""
    with container_with({}) as url:
        yield url


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


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
    """Every call waits until all are there, and they are more than database connections."""
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


def test_what_is_written_at_once_is_written_by_few_statements(
    client: httpx.Client, upstream: FakeUpstream, books: Books, said: list[str]
) -> None:
    together = threading.Barrier(THREADS, timeout=8)

    def wait(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        together.wait()
        answer()(handler, request)

    upstream.behaviours = {"small": wait, "large": wait}
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [
            pool.submit(client.post, "/v1/chat/completions", json=CHAT) for _ in range(THREADS)
        ]
        answers = [call.result() for call in calls]
    assert [a.status_code for a in answers] == [200] * THREADS
    assert sum("admit_and_record_decisions(" in text for text in said) < THREADS
    assert sum("record_outcomes(" in text for text in said) < THREADS
    assert len(books.rows(decisions)) == THREADS
    books.assert_closed()


def test_a_limit_is_exact_among_requests_that_are_written_at_once(
    container: str, make_key: Callable[..., LambdaClient], books: Books
) -> None:
    token = make_key("chat", "read", rpm=11).token
    headers = {"authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=container, headers=headers, timeout=10, trust_env=False) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        assert client.get("/v1/models").status_code == 200  # the process knows the key from now on
        calls = [
            pool.submit(client.post, "/v1/chat/completions", json=CHAT) for _ in range(THREADS)
        ]
        answers = [call.result() for call in calls]
    admitted = [a for a in answers if a.status_code == 200]
    assert len(admitted) == 10 and {a.status_code for a in answers} == {200, 429}
    left = sorted(int(a.headers["x-ratelimit-remaining"]) for a in admitted)
    assert left == list(range(10)), "each is told what was left after it"
    assert len(books.rows(decisions)) == 10
    books.assert_closed()


def test_what_one_cannot_store_is_no_fault_of_those_that_are_written_with_it(
    client: httpx.Client, books: Books
) -> None:
    half = json.dumps({**CHAT, "messages": [{"role": "user", "content": "\ud83d"}]})
    bodies = [json.dumps(CHAT)] * THREADS
    bodies[THREADS // 2] = half

    def post(body: str) -> int:
        headers = {"content-type": "application/json"}
        return client.post("/v1/chat/completions", content=body, headers=headers).status_code

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = list(pool.map(post, bodies))
    assert statuses.count(200) == THREADS - 1 and statuses[THREADS // 2] == 400
    books.assert_closed()


def test_a_large_request_has_a_thread_of_its_own(
    client: httpx.Client, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.gateway.chat import serve_chat

    threads: list[str] = []

    def listen(*request: Any) -> Any:
        threads.append(threading.current_thread().name)
        return serve_chat(*request)

    monkeypatch.setattr("functions.gateway.routes.serve_chat", listen)
    headers = {"content-type": "application/json"}
    for content in (json.dumps(CHAT), json.dumps(CHAT) + " " * 66_000):
        answered = client.post("/v1/chat/completions", content=content, headers=headers)
        assert answered.status_code == 200, answered.text
    assert [name.startswith("request") for name in threads] == [False, True]
    books.assert_closed()


def test_a_stream_passes_on_while_the_model_still_thinks(
    client: httpx.Client, upstream: FakeUpstream
) -> None:
    has_seen = threading.Event()
    script = stream(role(), delta("Four"), until(has_seen), delta("."), finish(), DONE)
    upstream.behaviours = {"small": script, "large": script}
    with client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        while "Four" not in next(lines):
            pass
        has_seen.set()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    decision = client.get(f"/api/neural/decisions/{answer.headers['x-davinci-decision-id']}").json()
    assert decision["outcome"]["status"] == "success"


def test_a_client_that_leaves_a_stream_leaves_the_model_at_once(
    client: httpx.Client, upstream: FakeUpstream
) -> None:
    words = (step for n in range(400) for step in (delta(f"{n} "), pause(0.02)))
    script = stream(role(), *words)
    upstream.behaviours = {"small": script, "large": script}
    with client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        lines = answer.iter_lines()
        while '"0 "' not in next(lines):
            pass
    path = f"/api/neural/decisions/{answer.headers['x-davinci-decision-id']}"
    deadline = time.monotonic() + 3
    while not (outcome := client.get(path).json()["outcome"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert outcome["error_class"] == "client-closed"
    assert upstream.accounts[-1].is_left


def test_requests_that_wait_in_the_database_leave_room_for_others(
    client: httpx.Client, engine: sa.Engine
) -> None:
    headers = {"if-match": "*"}

    def change(_: int) -> int:
        path = "/api/models/test/small"
        return client.patch(path, json={"region": "eu"}, headers=headers).status_code

    with ThreadPoolExecutor(THREADS) as pool, engine.connect() as holder:
        holder.execute(sa.text("SELECT 1 FROM models WHERE id = 'test/small' FOR UPDATE"))
        waiting = [pool.submit(change, n) for n in range(TURNS - 1)]
        deadline = time.monotonic() + 5
        blocked = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with engine.connect() as watcher:
            while watcher.scalar(blocked) != TURNS - 1 and time.monotonic() < deadline:
                watcher.rollback()
                time.sleep(0.02)
            assert watcher.scalar(blocked) == TURNS - 1
        assert client.get("/api/models/test/large").status_code == 200
        assert not any(call.done() for call in waiting)
        holder.rollback()
        assert [call.result() for call in waiting] == [200] * (TURNS - 1)
    assert client.get("/api/models/test/small").json()["revision"] == TURNS


def test_more_requests_than_threads_wait_their_turn(client: httpx.Client) -> None:
    with ThreadPoolExecutor(2 * THREADS) as pool:
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
