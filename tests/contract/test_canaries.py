"""Twenty secrets and texts go through the real handlers, well and badly; none comes out in a log.

Everything that the functions write (structured logs, standard output and error, every library's
logger at its most talkative) is searched, and so is every error body. What must not be stored
readable is searched for in every column of the database too.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import breakers, metadata
from shared.observability.logging import get_logger
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.upstream import FakeUpstream, answer, error
from tests.integration.conftest import process_with

# Text that a caller or a model said: never in a log, but in the database where storing is on.
TEXTS = {
    "prompt": "canary-prompt-0a1b",
    "chat prompt": "canary-chat-prompt-1b2c",
    "streamed prompt": "canary-streamed-prompt-2c3d",
    "embedded text": "canary-embedded-text-3d4e",
    "answer": "canary-answer-4e5f",
    "upstream's error": "canary-upstream-error-5f60",
    "metadata value": "canary-metadata-6071",
    "unknown member": "canary-unknown-member-7182",
    "unparsable body": "canary-unparsable-8293",
    "query value": "canary-query-93a4",
    "session id": "canary-session-a4b5",
    "feedback label": "canary-feedback-label-b5c6",
}
# What proves who somebody is: neither in a log nor readable in the database.
SECRETS = {
    "password": "canary-password-c6d7",
    "new password": "canary new password d7e8",
    "refresh token": "canary-refresh-token-e8f9",
    "refresh cookie": "canary-refresh-cookie-f90a",
    "bearer token": "canary.bearer.token-0b1c",
    "mistyped API key": "dv_local_canaryMistypedKey1c2d3e4f5a6b7c8d9e0f",
    "idempotency key": "canary-idempotency-key-1d2e",
    "provider key": "canary-provider-key-2e3f",
    "database password": "canary-database-password-3f40",
    "signing secret": "canary-signing-secret-4051",
    "scrape token": "canary-scrape-token-5162",
}
INSIDE = re.compile(
    r"Traceback|File \"|sqlalchemy|pg8000|psycopg|pydantic|starlette|line \d+, in "
    r"|\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b"
)
Capture = pytest.CaptureFixture[str]


class Scene:
    """Sends requests and keeps every error's body."""

    def __init__(self, client: LambdaClient) -> None:
        self.client = client
        self.errors: list[tuple[str, Answer]] = []
        self.statuses: set[int] = set()

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        client = more.pop("client", self.client)
        got: Answer = client.request(method, path, body=body, **more)
        self.statuses.add(got.status)
        if got.status >= 400:
            self.errors.append((f"{method} {path}", got))
        return got


class Listener(logging.Handler):
    """Keeps every record whole: message, arguments, extra members, traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(f"{record.getMessage()} {vars(record)}")
        if record.exc_info:
            self.written.append(logging.Formatter().formatException(record.exc_info))


@pytest.fixture
def listener(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> Iterator[Listener]:
    """Hears every logger of the process at its most talkative."""
    made, logger = Listener(), get_logger()
    logger.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    logging.getLogger().addHandler(made)
    yield made
    logging.getLogger().removeHandler(made)
    logger.setLevel(environment["DAVINCI_LOG_LEVEL"])


@pytest.fixture
def talkative(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A process whose own secrets are canaries."""
    signing = tmp_path / "signing-keys.json"
    signing.write_text(json.dumps({"current": SECRETS["signing secret"], "previous": ""}))
    monkeypatch.setenv("CANARY_API_KEY", SECRETS["provider key"])
    with process_with(
        {
            "DAVINCI_SIGNING_KEYS": f"file:{signing}",
            "DAVINCI_METRICS_TOKEN": SECRETS["scrape token"],
        }
    ):
        yield


def test_no_canary_reaches_a_log_or_an_error(
    talkative: None,
    admin: LambdaClient,
    registry: list[str],
    upstream: FakeUpstream,
    engine: sa.Engine,
    capfd: Capture,
    listener: Listener,
) -> None:
    capfd.readouterr()
    scene = Scene(admin)
    key = scene.send(
        "POST", "/api/keys", {"name": "k", "scopes": ["route", "chat", "feedback"]}
    ).json()["secret"]
    client = admin.with_token(key)
    _log_in_badly(scene)
    _route_and_judge(scene, client)
    _serve(scene, client, upstream, engine)
    _send_nonsense(scene, client)
    with _renamed(engine, "outbox"):
        _provoke_500(scene, client)
    _lose_the_database(scene, client)
    assert {400, 401, 403, 404, 422, 500, 503} <= scene.statuses, "every kind of error came up"
    assert any(status in scene.statuses for status in (502, 504)), "and the upstream failed"

    written = "".join([*capfd.readouterr(), *listener.written])
    assert "/api/neural/route" in written and "unhandled error" in written, "logs were captured"
    canaries = {**TEXTS, **SECRETS, "access token": str(admin.token), "API key": key}
    assert len(canaries) >= 20
    assert {name for name, canary in canaries.items() if canary in written} == set()
    told = []
    for request, got in scene.errors:
        assert INSIDE.search(got.body) is None, (request, got.body)
        # Why a provider rejects a request is for who sent it; it may quote the request.
        is_quoted = '"rejected_by_provider"' in got.body
        searched = {**canaries, **dict.fromkeys(TEXTS if is_quoted else (), "\0")}
        told += [(n, request, got.body) for n, canary in searched.items() if canary in got.body]
    assert [f"{name} in {request}: {body[:300]}" for name, request, body in told] == []
    stored = "\n".join(_everything(engine))
    secrets = {**SECRETS, "access token": str(admin.token), "API key": key}
    assert {name for name, canary in secrets.items() if canary in stored} == set()
    assert TEXTS["prompt"] in stored, "the database was searched where texts are stored"


def _log_in_badly(scene: Scene) -> None:
    nobody = scene.client.with_token(None)
    email = "somebody@example.org"
    wrong = {"email": email, "password": SECRETS["password"]}
    scene.send("POST", "/api/auth/login", wrong, client=nobody)
    scene.send("POST", "/api/auth/login", {**wrong, "email": 7}, client=nobody)
    scene.send("POST", "/api/users", {"email": email, "password": SECRETS["new password"]})
    scene.send("POST", "/api/users", {"email": email, "password": SECRETS["new password"], "x": 1})
    change = {"current_password": SECRETS["password"], "new_password": SECRETS["new password"]}
    scene.send("POST", "/api/users/me/password", change)
    refresh = "/api/auth/refresh"
    scene.send("POST", refresh, {"refresh_token": SECRETS["refresh token"]}, client=nobody)
    scene.send("POST", refresh, {"refresh_token": [SECRETS["refresh token"]]}, client=nobody)
    cookies = (f"__Host-davinci-refresh={SECRETS['refresh cookie']}",)
    for headers in ({}, {"x-davinci-csrf": "1"}):
        scene.send("POST", refresh, client=nobody, cookies=cookies, headers=headers)
    for token in (SECRETS["bearer token"], SECRETS["mistyped API key"], SECRETS["scrape token"]):
        scene.send("GET", "/api/models", client=nobody.with_token(token))
        scene.send("GET", "/api/models", client=nobody, headers={"x-api-key": token})
        scene.send("GET", "/metrics", client=nobody.with_token(token))


def _route_and_judge(scene: Scene, client: LambdaClient) -> None:
    headers = {"idempotency-key": SECRETS["idempotency key"]}
    body = {"prompt": TEXTS["prompt"], "session_id": TEXTS["session id"]}
    decided = scene.send("POST", "/api/neural/route", body, client=client, headers=headers)
    assert decided.status == 200, decided.body
    scene.send("POST", "/api/neural/route", body, client=client, headers=headers)
    again = {"prompt": "another " + TEXTS["prompt"]}
    scene.send("POST", "/api/neural/route", again, client=client, headers=headers)
    batch = {"items": [body, {"prompt": TEXTS["prompt"], "level": TEXTS["unknown member"]}]}
    scene.send("POST", "/api/neural/route/batch", batch, client=client)
    judged = {
        "decision_id": decided.json()["decision_id"], "score": 1, "label": TEXTS["feedback label"],
    }  # fmt: skip
    for score in (1, 1, 0):
        scene.send("POST", "/api/learning/feedback", {**judged, "score": score}, client=client)
    scene.send("POST", "/api/learning/feedback", {**judged, "thumbs": "up"}, client=client)


def _serve(scene: Scene, client: LambdaClient, upstream: FakeUpstream, engine: sa.Engine) -> None:
    for name in ("small", "large"):
        path = f"/api/models/test/{name}"
        tag = scene.send("GET", path).headers["etag"]
        reference = {"secret_ref": "env:CANARY_API_KEY"}
        changed = scene.send("PATCH", path, reference, headers={"if-match": tag})
        assert changed.status == 200, changed.body
    chat: dict[str, Any] = {
        "model": "auto",
        "messages": [{"role": "user", "content": TEXTS["chat prompt"]}],
        "metadata": {"customer": TEXTS["metadata value"]},
    }
    headers = {"x-davinci-session": TEXTS["session id"]}

    def ask(**more: Any) -> int:
        body = {**chat, **more}
        got = scene.send("POST", "/v1/chat/completions", body, client=client, headers=headers)
        return got.status

    streamed = {"stream": True, "messages": [{"role": "user", "content": TEXTS["streamed prompt"]}]}
    upstream.behaviours.update(dict.fromkeys(("small", "large"), answer(TEXTS["answer"])))
    assert ask() == 200 and ask(**streamed) == 200
    assert f"Bearer {SECRETS['provider key']}" in str(upstream.headers), "the key was sent"
    # A provider that repeats everything it was sent: prompt, key, and words of its own.
    told = " ".join([TEXTS["upstream's error"], TEXTS["chat prompt"], SECRETS["provider key"]])
    for code in (400, 401, 429, 500):
        _forget_failures(engine)
        upstream.behaviours.update(dict.fromkeys(("small", "large"), error(code, told)))
        assert ask() >= 400
        ask(**streamed)
    vectors = {"model": "test/small", "input": TEXTS["embedded text"]}
    scene.send("POST", "/v1/embeddings", vectors, client=client)
    upstream.reset()
    _forget_failures(engine)
    scene.send("POST", "/v1/embeddings", vectors, client=client)
    ask(temperature={"nonsense": TEXTS["unknown member"]}, n="many")
    ask(model="nothing")
    ask(messages=TEXTS["unknown member"])


def _forget_failures(engine: sa.Engine) -> None:
    """Close the breakers, or nobody would be asked any more."""
    with engine.begin() as connection:
        connection.execute(sa.delete(breakers))


def _send_nonsense(scene: Scene, client: LambdaClient) -> None:
    for path in ("/api/neural/route", "/v1/chat/completions", "/api/learning/feedback"):
        raw = b'{"prompt": "' + TEXTS["unparsable body"].encode()
        scene.send("POST", path, raw=raw, client=client)
        scene.send("POST", path, {"nonsense": TEXTS["unknown member"]}, client=client)
        scene.send("POST", path, [TEXTS["prompt"]], client=client)
        scene.send("POST", path, raw=b"x=" + TEXTS["prompt"].encode(), client=client,
                   headers={"content-type": "text/plain"})  # fmt: skip
    for path in ("/api/models", "/api/neural/history", "/api/nothing"):
        scene.send("GET", path, query={"limit": TEXTS["query value"], "x": TEXTS["query value"]})
        scene.send("GET", path, query={"cursor": TEXTS["query value"]})
    scene.send("GET", "/api/models/nothing")
    scene.send("GET", "/api/models", client=client)  # a scope that the key has not


def _provoke_500(scene: Scene, client: LambdaClient) -> None:
    broken = scene.send("POST", "/api/neural/route", {"prompt": TEXTS["prompt"]}, client=client)
    assert broken.status == 500, broken.body
    chat = {"model": "auto", "messages": [{"role": "user", "content": TEXTS["chat prompt"]}]}
    headers = {"idempotency-key": SECRETS["idempotency key"] + "-2"}
    scene.send("POST", "/v1/chat/completions", chat, client=client, headers=headers)


def _lose_the_database(scene: Scene, client: LambdaClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # nothing listens there any more
    url = f"postgresql+pg8000://davinci:{SECRETS['database password']}@127.0.0.1:{port}/davinci"
    with process_with({"DATABASE_URL": url}):
        for method, path, body in (
            ("POST", "/api/neural/route", {"prompt": TEXTS["prompt"]}),
            ("POST", "/api/auth/login", {"email": "a@b.c", "password": SECRETS["password"]}),
            ("GET", "/api/models", None),
            ("GET", "/health", None),
        ):
            got = scene.send(method, path, body, client=client)
            assert got.status == 503, (path, got.body)


class _renamed:  # noqa: N801  # reads as a word in the with statement
    """A table that is away: every statement on it fails in a way nobody foresaw."""

    def __init__(self, engine: sa.Engine, table: str) -> None:
        self.engine, self.table = engine, table

    def __enter__(self) -> None:
        self._rename(self.table, f"{self.table}_away")

    def __exit__(self, *_: object) -> None:
        self._rename(f"{self.table}_away", self.table)

    def _rename(self, name: str, new: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {new}"))


def _everything(engine: sa.Engine) -> Iterator[str]:
    """Yield every row of every table as PostgreSQL writes it, and its bytes as text."""
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(sa.select(table)):
                for value in row:
                    yield value.decode("latin-1") if isinstance(value, bytes) else str(value)


def test_the_search_finds_a_leak(listener: Listener) -> None:
    """Canaries in an extra member, an argument and a traceback are all heard."""
    logger = get_logger()
    logger.info("leak", extra={"prompt": TEXTS["prompt"]})
    logging.getLogger("httpx").debug("leak %s", SECRETS["bearer token"])
    try:
        int(SECRETS["password"])  # says what it could not read
    except ValueError:
        logger.exception("leak")
    heard = "".join(listener.written)
    assert {TEXTS["prompt"], SECRETS["bearer token"], SECRETS["password"]} <= {
        canary for canary in (*TEXTS.values(), *SECRETS.values()) if canary in heard
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"detail": "Traceback (most recent call last)"}', 'x File "/var/task/a.py"',
        "SELECT id FROM users", "pg8000.exceptions", "UPDATE users SET",
    ],
)  # fmt: skip
def test_the_pattern_knows_what_tells_of_the_inside(body: str) -> None:
    assert INSIDE.search(body)
