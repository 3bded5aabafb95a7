"""Every error is a document that clients can parse, and tells nothing of the inside."""

from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, outbox
from shared.observability.logging import get_logger
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import process_with

MakeKey = Callable[..., LambdaClient]
MEMBERS = {"type", "title", "status", "detail", "instance", "errors"}
INSIDE = ("Traceback", "sqlalchemy", "pg8000", "psycopg", "SELECT", "INSERT", 'File "')


def assert_problem(answer: Answer, status: int, path: str) -> dict[str, Any]:
    assert answer.status == status, answer.body
    assert not any(word in answer.body for word in INSIDE), answer.body
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    if path.startswith("/v1/"):
        assert answer.headers["content-type"] == "application/json"
        assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
        return body
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) >= MEMBERS
    assert body["status"] == status and body["instance"] == path
    assert body["type"].startswith("https://") and body["title"] and body["detail"]
    return body


@pytest.mark.parametrize("path", ["/api/models", "/v1/models", "/api/status", "/api/keys"])
def test_missing_and_wrong_credentials(api: LambdaClient, path: str) -> None:
    for token in (None, "nonsense", "a.b.c", "dv_local_x"):
        answer = api.with_token(token).get(path)
        assert_problem(answer, 401, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api", "/v1/nothing", "/nothing", "/api/keys/", "/API/keys",
             "/api//keys",
             "/.env", "/api/neural/route/extra", "/api/%2e%2e/keys"]
)  # fmt: skip
def test_a_path_that_is_not_there(api: LambdaClient, path: str) -> None:
    from urllib.parse import unquote

    for method in ("GET", "POST", "DELETE", "PUT"):
        answer = api.request(method, path)
        assert answer.status == 404, (method, answer.body)
        assert_problem(answer, 404, unquote(path))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/keys", {"GET", "POST"}),
        ("GET", "/api/auth/login", {"POST"}),
        ("DELETE", "/api/models/a/b", {"GET", "PATCH"}),
        ("POST", "/health", {"GET"}),
        ("GET", "/v1/chat/completions", {"POST"}),
        ("PATCH", "/api/neural/decisions/dec_1", {"GET"}),
        ("PUT", "/", {"GET"}),
        ("HEAD", "/api/status", {"GET"}),
        ("OPTIONS", "/api/policies", {"GET", "POST"}),
    ],
)
def test_a_wrong_method_says_which_are_right(
    api: LambdaClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = api.request(method, path)
    assert_problem(answer, 405, path)
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/api/neural/route", "/v1/chat/completions", "/api/learning/feedback"]
)
@pytest.mark.parametrize(
    "raw",
    [b"{", b"{'a': 1}", b"\xff", b"nul", b"{}{}", b"[" * 100_000, b'{"n": ' + b"9" * 5_000 + b"}"],
)
def test_a_body_that_is_not_json(make_key: MakeKey, path: str, raw: bytes) -> None:
    client = make_key("route", "chat", "feedback")
    assert_problem(client.request("POST", path, raw=raw), 400, path)


@pytest.mark.parametrize("raw", [b"null", b"[]", b"7", b'"x"', b"true"])
def test_json_that_is_no_object(make_key: MakeKey, raw: bytes) -> None:
    answer = make_key("route").request("POST", "/api/neural/route", raw=raw)
    assert assert_problem(answer, 422, "/api/neural/route")["errors"][0]["pointer"] == "#"


@pytest.mark.parametrize("path", ["/api/neural/route", "/v1/chat/completions"])
def test_a_body_over_the_limit(make_key: MakeKey, path: str) -> None:
    client = make_key("route", "chat")
    raw = b'{"prompt": "' + b"x" * 1_048_576 + b'"}'
    assert_problem(client.request("POST", path, raw=raw), 413, path)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"],
)
def test_another_media_type(make_key: MakeKey, kind: str) -> None:
    client = make_key("route")
    answer = client.post("/api/neural/route", {"prompt": "x"}, headers={"content-type": kind})
    assert_problem(answer, 415, "/api/neural/route")
    assert answer.headers["accept"] == "application/json"


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity", "x"])
def test_a_body_that_is_coded(make_key: MakeKey, coding: str) -> None:
    headers = {"content-encoding": coding}
    answer = make_key("route").post("/api/neural/route", {"prompt": "x"}, headers=headers)
    assert_problem(answer, 415, "/api/neural/route")
    assert answer.headers["accept-encoding"] == "identity"


def test_json_with_a_parameter_is_json(make_key: MakeKey) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = make_key("route").post("/api/neural/route", {}, headers=headers)
    assert answer.status == 422


def test_every_answer_carries_the_security_headers(api: LambdaClient) -> None:
    for path in ("/health", "/api/nothing", "/api/models", "/docs", "/openapi.json"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "max-age=63072000" in headers["strict-transport-security"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "'unsafe-inline'" not in headers["content-security-policy"].partition("style-src")[0]
    assert api.get("/api/models").headers["cache-control"] == "no-store"


def test_the_callers_request_id_is_kept_short(api: LambdaClient) -> None:
    assert api.get("/health", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    long = api.get("/health", headers={"x-request-id": "x" * 900}).headers["x-request-id"]
    assert long == "x" * 64


@pytest.fixture
def database_down(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The same process, its database gone: nothing listens where it should."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"postgresql+pg8000://davinci@127.0.0.1:{port}/davinci"
    with process_with({"DATABASE_URL": url}):
        yield


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/models", None),
        ("GET", "/api/events/stream", None),
        ("GET", "/v1/models", None),
        ("POST", "/api/neural/route", {"prompt": "x"}),
        (
            "POST",
            "/v1/chat/completions",
            {"model": "auto", "messages": [{"role": "user", "content": "x"}]},
        ),
        ("POST", "/api/learning/feedback", {"decision_id": "dec_" + "0" * 32, "score": 1}),
        ("POST", "/api/auth/login", {"email": "admin@davinci.local", "password": "x"}),
        ("POST", "/api/auth/refresh", {"refresh_token": "x"}),
        ("POST", "/api/auth/logout", None),
        ("PATCH", "/api/models/test/small", {"enabled": False}),
    ],
)
def test_without_a_database_every_route_is_503(
    admin: LambdaClient, database_down: None, method: str, path: str, body: object
) -> None:
    answer = admin.request(method, path, body=body, headers={"if-match": "*"})
    said = assert_problem(answer, 503, path)
    assert answer.headers["retry-after"] == "2"
    if not path.startswith("/v1"):
        assert said["type"].endswith("/database-unavailable")


def test_health_names_the_failing_part(api: LambdaClient, database_down: None) -> None:
    for path in ("/health", "/api/health"):
        answer = api.get(path)
        assert answer.status == 503 and answer.headers["retry-after"]
        body = answer.json()
        assert body["status"] == "failing"
        assert [c["name"] for c in body["checks"] if c["status"] == "failing"] == ["database"]


def test_an_unforeseen_error_is_a_500_with_an_id_and_logs_no_prompt(
    make_key: MakeKey, registry: list[str], engine: sa.Engine, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    client = make_key("route", "chat")
    canary = "canary-prompt-58213"
    rename = "ALTER TABLE outbox RENAME TO {}"
    with engine.begin() as connection:
        connection.execute(sa.text(rename.format("outbox_away")))
    try:
        answers = {
            "/api/neural/route": client.post("/api/neural/route", {"prompt": canary}),
            "/v1/chat/completions": client.post(
                "/v1/chat/completions",
                {"model": "auto", "messages": [{"role": "user", "content": canary}]},
            ),
        }
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE outbox_away RENAME TO outbox"))
    for path, answer in answers.items():
        assert_problem(answer, 500, path)
        assert answer.headers["x-request-id"] in answer.body
        assert canary not in answer.body
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "unhandled error" in printed
    assert canary not in printed
    with engine.connect() as connection:
        for table in (decisions, outbox):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


@contextmanager
def all_that_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[io.StringIO]:
    """Collect our log lines as they are written, and what libraries log, at the finest level.

    The logger keeps the standard output that it began with, so capturing that may see nothing.
    """
    logger = get_logger()
    written, level = io.StringIO(), logger.log_level
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)
    logging.getLogger(logger.name).addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            yield written
        written.write(caplog.text)
    finally:
        logger.setLevel(level)
        logging.getLogger(logger.name).removeHandler(handler)


def test_logs_hold_no_secret_and_no_prompt(
    registry: list[str], admin: LambdaClient, caplog: pytest.LogCaptureFixture
) -> None:
    with all_that_is_logged(caplog) as written:
        canaries = {
            "password": "canary-password-1", "prompt": "canary-prompt-2", "label": "canary-label-3",
            "session": "canary-session-4", "refresh": "canary-refresh-5",
        }  # fmt: skip
        admin.post("/api/auth/login", {"email": "x@y.z", "password": canaries["password"]})
        admin.post("/api/auth/refresh", {"refresh_token": canaries["refresh"]})
        key = admin.post("/api/keys", {"name": "k", "scopes": ["route", "chat", "feedback"]}).json()
        client = admin.with_token(key["secret"])
        body = {"prompt": canaries["prompt"], "session_id": canaries["session"]}
        decided = client.post("/api/neural/route", body).json()
        chat = {"model": "auto", "messages": [{"role": "user", "content": canaries["prompt"]}]}
        assert client.post("/v1/chat/completions", chat).status == 200
        judged = {"decision_id": decided["decision_id"], "score": 1, "label": canaries["label"]}
        assert client.post("/api/learning/feedback", judged).status == 201
        client.post("/api/neural/route", {"prompt": canaries["prompt"], "nonsense": 1})
    printed = written.getvalue()
    assert '"path":"/api/neural/route"' in printed  # requests are logged
    secrets = [*canaries.values(), key["secret"], str(admin.token)]
    assert [s for s in secrets if s in printed] == []


def test_validation_errors_do_not_repeat_the_input(make_key: MakeKey) -> None:
    canary = "canary-input-77"
    body = {"prompt": 1, "level": canary, "constraints": {"region": [canary]}}
    answer = make_key("route").post("/api/neural/route", body)
    assert answer.status == 422 and canary not in answer.body
    assert json.loads(answer.body)["errors"]
