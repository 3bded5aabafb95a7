"""The security headers are on every answer of every route, whatever went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from shared.auth.access import ACCESS
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import process_with
from tests.integration.test_access import WITH_BODY, routes

EXACT = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
# Documents that are the same for everybody may be kept a while.
CACHEABLE = {"/openapi.json", "/api/auth/jwks"}


def faults(path: str, answer: Answer) -> list[str]:
    headers, found = answer.headers, []
    found += [name for name, value in EXACT.items() if headers.get(name) != value]
    age = re.match(
        r"max-age=(\d+); includeSubDomains", headers.get("strict-transport-security", "")
    )
    if age is None or int(age[1]) < 365 * 86_400:
        found.append("strict-transport-security")
    policy = headers.get("content-security-policy", "")
    if "default-src 'none'" not in policy or "frame-ancestors 'none'" not in policy:
        found.append("content-security-policy")
    if "'unsafe-inline'" in policy.partition("style-src")[0] or "'unsafe-eval'" in policy:
        found.append("content-security-policy lets scripts in")
    if "no-store" not in headers.get("cache-control", "") and path not in CACHEABLE:
        found.append("cache-control")
    if not headers.get("x-request-id"):
        found.append("x-request-id")
    found += [name for name in headers if name.startswith("access-control-")]
    return [f"{answer.status} {path}: {name}" for name in found]


def test_every_route_sends_them_to_everybody(admin: LambdaClient) -> None:
    wrong, seen = [], set()
    for method, path, operation_id in routes():
        callers = [admin.with_token(None), admin] if operation_id != "auth_logout" else [admin]
        for client in callers:
            body: object = {} if method in WITH_BODY else None
            origin = {"origin": "https://evil.example"}
            answer = client.request(method, path, body=body, headers=origin)
            wrong += faults(path, answer)
            seen.add(operation_id)
    assert wrong == []
    assert seen == set(ACCESS) - {"system_fallback"}


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, {"method": "POST", "path": "/api/neural/route", "raw": b"{"}),
        (401, {"method": "GET", "path": "/api/models"}),
        (403, {"method": "GET", "path": "/api/models"}),
        (404, {"method": "GET", "path": "/api/nothing"}),
        (404, {"method": "GET", "path": "/v1/nothing"}),
        (405, {"method": "PUT", "path": "/api/models"}),
        (413, {"method": "POST", "path": "/api/neural/route", "raw": b" " * 1_048_577}),
        (
            415,
            {
                "method": "POST", "path": "/api/neural/route", "raw": b"x",
                "headers": {"content-type": "text/plain"},
            },
        ),
        (422, {"method": "POST", "path": "/api/neural/route", "body": {}}),
    ],
)  # fmt: skip
def test_every_kind_of_error_sends_them(
    make_key: Callable[..., LambdaClient], status: int, request_: dict[str, object]
) -> None:
    client = make_key("route")
    if status == 401:
        client = client.with_token(None)
    answer = client.request(**request_)  # type: ignore[arg-type]
    assert answer.status == status, answer.body
    assert faults(str(request_["path"]), answer) == []


def test_an_unforeseen_error_and_a_lost_database_send_them(
    make_key: Callable[..., LambdaClient], registry: list[str], engine: sa.Engine
) -> None:
    client = make_key("route")
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE outbox RENAME TO outbox_away"))
    try:
        broken = client.post("/api/neural/route", {"prompt": "x"})
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE outbox_away RENAME TO outbox"))
    assert broken.status == 500 and faults("/api/neural/route", broken) == []
    with process_with({"DATABASE_URL": "postgresql+pg8000://nobody@127.0.0.1:1/nothing"}):
        for path in ("/health", "/api/neural/status"):
            answer = client.get(path)
            assert answer.status == 503 and faults(path, answer) == []
