"""What the outermost ring takes and refuses, through the Lambda handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from starlette.testclient import TestClient

from shared.config import Settings
from shared.db.tables import models
from shared.web.app import create_app
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.threads import at_once
from tests.integration.test_problems import all_that_is_logged, assert_problem

MakeKey = Callable[..., LambdaClient]
OURS = "https://app.example"
CSV = "text/csv; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


def pointers(problem: Any) -> list[str]:
    return [fault["pointer"] for fault in problem["errors"]]


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "raw",
    [
        b'{"prompt":"x","prompt":"y"}',
        b'{"prompt":"x","labels":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"prompt":"x"}'.decode().encode("utf-16"),
    ],
)
def test_json_that_parsers_read_differently_is_malformed(make_key: MakeKey, raw: bytes) -> None:
    answer = make_key("route").request("POST", "/api/neural/route", raw=raw)
    assert_problem(answer, 400, "/api/neural/route")


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        ("/api/keys", "rpm", "5"), ("/api/keys", "rpm", True), ("/api/keys", "rpm", 5.5),
        ("/api/keys", "tpm", 10**30), ("/api/keys", "budget", {"usd": "1", "window": "day"}),
        ("/api/neural/route", "max_tokens", "8"), ("/api/neural/route", "explain", "yes"),
        ("/api/neural/route", "explain", 1), ("/api/learning/feedback", "score", True),
        ("/api/learning/feedback", "score", "1"), ("/api/models", "context_tokens", True),
    ],
)  # fmt: skip
def test_no_text_and_no_boolean_passes_for_a_number(
    admin: LambdaClient, path: str, member: str, value: object
) -> None:
    problem = assert_problem(admin.post(path, {member: value}), 422, path)
    wrong = f"#/{member}" + ("/usd" if member == "budget" else "")
    assert wrong in pointers(problem)


def test_a_whole_number_may_be_written_with_its_point(admin: LambdaClient) -> None:
    made = admin.request("POST", "/api/keys", raw=b'{"name":"x","scopes":["read"],"rpm":5.0}')
    assert (made.status, made.json()["rpm"]) == (201, 5)


def test_what_no_text_column_holds_is_refused_with_its_place(admin: LambdaClient) -> None:
    right = '{"email": "%s", "password": "long enough password", "role": "viewer"}'
    for email in ("a\\u0000@b.c", "\\ud800@b.c", "\u0430dmin@b.c", "a@b@c.d\\n"):
        answer = admin.request("POST", "/api/users", raw=(right % email).encode())
        assert pointers(assert_problem(answer, 422, "/api/users")) == ["#/email"]
    for email in ("a\\u0000@b.c", "\\ud800@b.c"):
        raw = f'{{"email": "{email}", "password": "x"}}'.encode()
        answer = admin.with_token(None).request("POST", "/api/auth/login", raw=raw)
        assert pointers(assert_problem(answer, 422, "/api/auth/login")) == ["#/email"]


def test_deep_brackets_in_a_prompt_are_text(make_key: MakeKey, registry: list[str]) -> None:
    body = {"prompt": "[" * 500 + '{"' * 50}
    assert make_key("route").post("/api/neural/route", body).status == 200


# ---------------------------------------------------------------- negotiation


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/api/models", "application/json", "application/json"),
        ("/api/models", "text/html, */*;q=0.1", "application/json"),
        ("/api/neural/history", "text/csv", CSV),
        ("/api/neural/history", "text/csv;q=0.5, application/json;q=0.4", CSV),
        ("/api/neural/history", "text/csv;q=0.4, application/json;q=0.5", "application/json"),
        ("/api/neural/history", "text/csv;q=0, */*", "application/json"),
        ("/api/learning/replay", "application/x-ndjson", "application/x-ndjson"),
        ("/api/events/stream", "text/event-stream", "text/event-stream; charset=utf-8"),
        ("/metrics", "text/plain;q=0.5, */*;q=0.1", METRICS),
        ("/docs", "text/html", "text/html; charset=utf-8"),
        ("/openapi.json", "application/json", "application/json"),
    ],
)  # fmt: skip
def test_the_answer_is_of_the_type_that_accept_likes_best(
    admin: LambdaClient, path: str, accept: str, kind: str
) -> None:
    client = LambdaClient(admin.template, source_ip="127.0.0.1") if path == "/metrics" else admin
    answer = client.get(path, headers={"accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api/models", "text/html"),
        ("/api/models", "application/json;q=0"),
        ("/api/neural/history", "application/xml"),
        ("/api/learning/replay", "application/json"),
        ("/api/events/stream", "application/json"),
        ("/health", "image/png"),
    ],
)
def test_a_type_that_we_do_not_have_is_a_406(admin: LambdaClient, path: str, accept: str) -> None:
    assert_problem(admin.get(path, headers={"accept": accept}), 406, path)


def test_without_credentials_it_is_a_401_whatever_accept_says(api: LambdaClient) -> None:
    answer = api.get("/api/models", {"nonsense": 1}, headers={"accept": "text/html"})
    assert_problem(answer, 401, "/api/models")


# ---------------------------------------------------------------- query parameters


def test_an_unknown_query_parameter_is_named(admin: LambdaClient) -> None:
    answer = admin.get("/api/neural/history", {"levle": "L2", "limit": 5})
    body = assert_problem(answer, 422, "/api/neural/history")
    assert body["errors"] == [
        {"pointer": "?levle", "detail": "unknown parameter; did you mean 'level'?"}
    ]
    assert admin.get("/api/neural/history", {"level": "L2", "limit": 5}).status == 200
    assert_problem(admin.get("/api/status", {"x": 1}), 422, "/api/status")


def test_a_query_parameter_comes_once_unless_it_is_a_list(admin: LambdaClient) -> None:
    answer = admin.get("/api/neural/history", {"limit": [5, 6]})
    assert pointers(assert_problem(answer, 422, "/api/neural/history")) == ["?limit"]
    both = {"types": ["feedback.recorded", "outcome.recorded"]}
    assert admin.get("/api/events", both).status == 200


@pytest.mark.parametrize("path", ["/api/audit", "/api/neural/history"])
def test_a_span_that_holds_no_time_is_refused(admin: LambdaClient, path: str) -> None:
    early, late = "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z"
    for since, until in ((late, early), (early, early), (early, "2026-01-01T01:00:00+01:00")):
        answer = admin.get(path, {"from": since, "to": until})
        assert pointers(assert_problem(answer, 422, path)) == ["?from"]
    assert admin.get(path, {"from": early, "to": late}).status == 200


NO_INSTANTS = (
    "0000-01-01T00:00:00Z", "99999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "1700000000",
    "2026-01-01", "1e308", "NaN",
    "2026-01-01T00:00:00", "2026-01-01T00:00:00+24:00", "\u0662026-01-01T00:00:00Z",
)  # fmt: skip


@pytest.mark.parametrize("value", NO_INSTANTS)
def test_what_is_no_instant_is_refused_with_its_place(admin: LambdaClient, value: str) -> None:
    for path, name in (
        ("/api/audit", "from"), ("/api/audit", "to"), ("/api/neural/history", "from"),
        ("/api/neural/allocation", "from"),
    ):  # fmt: skip
        answer = admin.get(path, {name: value})
        assert pointers(assert_problem(answer, 422, path)) == [f"?{name}"]
    for path, body, name in (
        ("/api/keys", {"name": "x", "scopes": ["read"]}, "expires_at"),
        ("/api/learning/evaluate", {}, "since"),
    ):
        answer = admin.post(path, {**body, name: value})
        assert pointers(assert_problem(answer, 422, path)) == [f"#/{name}"]


# The last two are in the years 0 and 10000 of UTC, which neither Python nor the schema has.
@pytest.mark.parametrize(
    "value",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+00:01",
     "9999-12-31T23:59:59-23:59"],
)  # fmt: skip
def test_the_ends_of_the_calendar_are_instants(admin: LambdaClient, value: str) -> None:
    for path in ("/api/audit", "/api/neural/history"):
        assert admin.get(path, {"from": value}).status == 200
        assert admin.get(path, {"to": value}).status == 200
    assert admin.get("/api/neural/allocation", {"from": value}).status == 200
    body = {"name": "x", "scopes": ["read"], "expires_at": value}
    made = admin.post("/api/keys", body)
    assert made.status == (201 if value.startswith("9999") else 422), made.body


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN", "1e309", "-0.1", "x"])
def test_numbers_are_finite(admin: LambdaClient, value: str) -> None:
    answer = admin.get("/api/neural/history", {"min_regret_usd": value})
    assert pointers(assert_problem(answer, 422, "/api/neural/history")) == ["?min_regret_usd"]


def test_other_peoples_clients_may_send_more(make_key: MakeKey) -> None:
    assert make_key("chat").get("/v1/models", {"api-version": "2026-01-01"}).status == 200
    assert make_key("read").get("/health", {"probe": "kubernetes"}).status in {200, 503}


# ---------------------------------------------------------------- sizes


def test_a_long_url_is_a_414_and_long_headers_a_431(api: LambdaClient) -> None:
    for path in ("/health", "/api/models", "/v1/models"):
        assert_problem(api.get(path, {"q": "x" * 10_240}), 414, path)
        assert_problem(api.get(path, headers={"x-long": "x" * 10_240}), 431, path)
    assert api.get("/openapi.json", headers={"x-long": "x" * 9_000}).status == 200


# ---------------------------------------------------------------- headers


def test_answers_say_where_the_time_went(admin: LambdaClient) -> None:
    timing = admin.get("/api/models").headers["server-timing"]
    names = [part.split(";")[0].strip() for part in timing.split(",")]
    assert names[0] == "auth" and "total" in names


def test_the_log_line_of_a_request_holds_its_path_and_nothing_that_was_sent(
    admin: LambdaClient, caplog: pytest.LogCaptureFixture
) -> None:
    canaries = [f"canary-{n}" for n in ("cursor", "name", "key", "etag", "cookie", "agent")]
    with all_that_is_logged(caplog) as written:
        admin.get("/api/models", {"cursor": canaries[0], canaries[1]: "x"})
        admin.patch("/api/models/x", {canaries[1]: 1}, headers={"if-match": canaries[3]})
        headers = {"idempotency-key": canaries[2], "user-agent": canaries[5]}
        admin.post("/api/keys", {"name": canaries[1]}, headers=headers)
        admin.post("/api/auth/refresh", cookies=(f"__Host-davinci-refresh={canaries[4]}",))
    printed = written.getvalue()
    assert '"path":"/api/models/x"' in printed
    assert [c for c in [*canaries, str(admin.token)] if c in printed] == []


@contextmanager
def application(*origins: str) -> Iterator[TestClient]:
    """The system domain's app with these origins allowed."""
    from functions.system.routes import fallback, router
    from shared.web.boundary import Boundary

    app = create_app("system", router, fallback)
    settings = Settings(
        database_url=SecretStr("postgresql+pg8000://x"), allowed_origins=frozenset(origins)
    )
    with TestClient(Boundary(app, settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def pages(environment: dict[str, str]) -> Iterator[TestClient]:
    with application(OURS) as client:
        yield client


def preflight(
    client: TestClient, origin: str, path: str = "/api/models"
) -> tuple[int, dict[str, str]]:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    answer = client.options(path, headers=headers)
    return answer.status_code, dict(answer.headers)


def test_an_allowed_origin_may_call_with_credentials(pages: TestClient) -> None:
    status, headers = preflight(pages, OURS)
    assert status == 204
    assert headers["access-control-allow-origin"] == OURS
    assert headers["access-control-allow-credentials"] == "true"
    assert "POST" in headers["access-control-allow-methods"]
    for name in ("authorization", "idempotency-key", "if-match", "content-type"):
        assert name in headers["access-control-allow-headers"].split(", ")
    assert "origin" in headers["vary"].lower()
    answer = pages.get("/docs", headers={"origin": OURS})
    assert answer.headers["access-control-allow-origin"] == OURS
    assert "etag" in answer.headers["access-control-expose-headers"]
    # Errors, too: a page must be able to read why.
    assert pages.get("/nothing", headers={"origin": OURS}).headers["access-control-allow-origin"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null",
     "https://app.example:8443", "https://sub.app.example", "HTTPS://APP.EXAMPLE", "*", ""],
)  # fmt: skip
def test_any_other_origin_may_not(pages: TestClient, origin: str) -> None:
    status, headers = preflight(pages, origin)
    assert status in {404, 405}
    answer = pages.get("/docs", headers={"origin": origin})
    for found in (headers, dict(answer.headers)):
        assert not [name for name in found if name.startswith("access-control-")]
        assert "origin" in found["vary"].lower()


def test_by_default_no_origin_is_allowed(environment: dict[str, str]) -> None:
    with application() as client:
        status, headers = preflight(client, OURS)
    assert status in {404, 405}
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "value", ["*", "https://*.example", "app.example", "https://a.example/", "null", "file://"]
)
def test_origins_are_exact_or_nothing_starts(value: str) -> None:
    given = {"DATABASE_URL": "postgresql+pg8000://x", "DAVINCI_ALLOWED_ORIGINS": value}
    with pytest.raises(ValidationError, match="not an origin"):
        Settings.model_validate(given)


def test_origins_are_read_from_the_environment() -> None:
    value = " https://a.example, http://127.0.0.1:5173 ,"
    given = {"DATABASE_URL": "postgresql+pg8000://x", "DAVINCI_ALLOWED_ORIGINS": value}
    expected = {"https://a.example", "http://127.0.0.1:5173"}
    assert Settings.model_validate(given).allowed_origins == expected


# ---------------------------------------------------------------- lost updates


def test_no_update_is_lost_among_twenty_writers(
    many_connections: None, admin: LambdaClient, registry: list[str], engine: sa.Engine
) -> None:
    path = f"/api/models/{registry[0]}"
    start = int(admin.get(path).json()["context_tokens"])

    def increment(_: int) -> list[int]:
        statuses = []
        for _attempt in range(3):
            seen = admin.get(path)
            change = {"context_tokens": seen.json()["context_tokens"] + 1}
            answer = admin.patch(path, change, headers={"if-match": seen.headers["etag"]})
            statuses.append(answer.status)
        return statuses

    statuses = [status for told in at_once(20, increment) for status in told]
    assert set(statuses) <= {200, 412} and statuses.count(200) >= 3
    with engine.connect() as connection:
        stored = connection.scalar(
            sa.select(models.c.context_tokens).where(models.c.id == registry[0])
        )
    assert stored == start + statuses.count(200)
    assert admin.patch(path, {"context_tokens": 1_000}).status == 428
