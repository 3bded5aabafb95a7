"""Every route against every kind of caller: default deny, cell by cell.

The expectation of each cell comes from the access table alone, and the table is compared with a
second, hand-written list where a mistake would hurt most: what is public.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from shared.auth.access import ACCESS, ROLES, SCOPES, Access
from shared.kit.clock import utc_now
from tests.architecture.test_routes import PUBLIC, routers
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import process_with

PASSWORD = "long enough password"
LOGOUT = "auth_logout"
WITH_BODY = {"POST", "PUT", "PATCH"}
OPENAPI = Path(__file__).parents[2] / "functions" / "system" / "openapi.json"


def routes() -> list[tuple[str, str, str]]:
    """Return (method, path with parameters filled in, operation id) of every route there is."""
    return sorted(
        (method, re.sub(r"\{[^}]+\}", "x", route.path), str(route.operation_id))
        for router in routers().values()
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    )


@pytest.fixture(autouse=True)
def no_limits_of_routes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The matrix asks more often than a person: rate limits have tests of their own."""
    for operation_id, access in ACCESS.items():
        monkeypatch.setitem(ACCESS, operation_id, replace(access, per_minute=None))
    generous = dict.fromkeys(("GLOBAL", "CALLER"), "1000000")
    with process_with(
        {f"DAVINCI_RATE_LIMIT_{name}_PER_MINUTE": value for name, value in generous.items()}
    ):
        yield


@pytest.fixture
def log_in(admin: LambdaClient) -> Callable[[str], LambdaClient]:
    """Returns a client with a new session of a person who has the role."""
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    for role in ROLES:
        with transaction(get_engine()) as connection:
            ensure_user(connection, f"{role}@example.org", PASSWORD, role=role)

    def client(role: str) -> LambdaClient:
        body = {"email": f"{role}@example.org", "password": PASSWORD}
        answer = admin.with_token(None).post("/api/auth/login", body)
        assert answer.status == 200, answer.body
        return admin.with_token(answer.json()["access_token"])

    return client


def _expired(admin: LambdaClient) -> LambdaClient:
    """Return a client whose token was good until a minute and a second beyond the leeway ago."""
    from shared.auth.tokens import issue_access_token, verify_access_token
    from shared.config import get_settings

    settings = get_settings()
    claims = verify_access_token(settings, str(admin.token))
    ttl = timedelta(seconds=settings.access_token_ttl_s)
    token = issue_access_token(
        settings, user_id=claims.user_id, email=claims.email, role=claims.role,
        family_id=claims.family_id, now=utc_now() - ttl - timedelta(seconds=61),
    )  # fmt: skip
    return admin.with_token(token)


def _revoked_key(admin: LambdaClient) -> LambdaClient:
    made = admin.post("/api/keys", {"name": "revoked", "scopes": list(SCOPES)}).json()
    assert admin.delete(f"/api/keys/{made['id']}").status == 204
    return admin.with_token(made["secret"])


def ask(client: LambdaClient, method: str, path: str) -> Answer:
    return client.request(method, path, body={} if method in WITH_BODY else None)


def is_refused(answer: Answer) -> bool:
    """Return whether nobody came in: 401 as every error is told, or 403."""
    return answer.status in {401, 403} and ("/csrf" not in answer.body)


def expected(access: Access, kind: str) -> int | None:
    """Return 401 or 403 where the caller must be refused, None where not."""
    if access.public:
        return None
    if kind in {"none", "garbage", "expired token", "logged out", "revoked key"}:
        return 401
    if access.scrape:
        return 401  # its own token, or loopback
    if kind in ROLES:
        role: Any = kind
        may = access.role is not None and ROLES.index(role) >= ROLES.index(access.role)
    else:
        may = access.any_key or access.scope == kind
    return None if may else 403


def test_every_cell_of_the_matrix(
    admin: LambdaClient,
    log_in: Callable[[str], LambdaClient],
    make_key: Callable[..., LambdaClient],
) -> None:
    logged_out = log_in("admin")
    assert logged_out.post("/api/auth/logout").status == 204
    callers: dict[str, LambdaClient] = {
        "none": admin.with_token(None),
        "garbage": admin.with_token("not.a.token"),
        "expired token": _expired(admin),
        "logged out": logged_out,
        "revoked key": _revoked_key(admin),
        **{role: log_in(role) for role in ROLES},
        **{scope: make_key(scope) for scope in SCOPES},
    }
    cells: Counter[str] = Counter()
    wrong = []
    for method, path, operation_id in routes():
        for kind, client in callers.items():
            # Whoever logs out ends his session: each role has another one for it.
            is_last = operation_id == LOGOUT and kind in ROLES
            answer = ask(log_in(kind) if is_last else client, method, path)
            cells[kind] += 1
            want = expected(ACCESS[operation_id], kind)
            # Login and refresh themselves answer 401 to whom they do not know.
            got = answer.status if is_refused(answer) else None
            if operation_id == "auth_refresh" and want is None:
                continue
            if got != want or answer.status >= 500:
                wrong.append((kind, method, path, want, answer.status, answer.body[:200]))
    assert wrong == []
    assert set(cells.values()) == {len(routes())}, "every kind of caller asked every route"
    assert sum(cells.values()) == len(routes()) * (5 + len(ROLES) + len(SCOPES))


def test_no_route_is_missing_from_the_table_or_the_matrix() -> None:
    documented = {
        operation["operationId"]
        for item in json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"].values()
        for operation in item.values()
    }
    asked = {operation_id for _, _, operation_id in routes()}
    assert asked == documented == set(ACCESS) - {"system_fallback"}


def test_the_table_opens_exactly_the_public_list() -> None:
    public = {f"{method} {path}" for method, path, name in routes() if ACCESS[name].public}
    assert public == PUBLIC


def test_only_the_public_list_answers_without_credentials(api: LambdaClient) -> None:
    for method, path, operation_id in routes():
        answer = ask(api, method, path)
        is_public = f"{method} {path}" in PUBLIC
        assert (answer.status == 401) is not is_public or operation_id == "auth_refresh", (
            method, path, answer.body,
        )  # fmt: skip
        if not is_public:
            assert '"status":401' in answer.body or '"authentication_error"' in answer.body
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_who_is_refused_is_told_what_is_missing(make_key: Callable[..., LambdaClient]) -> None:
    answer = make_key("read").post("/api/neural/route", {"prompt": "x"})
    assert answer.status == 403 and "the scope 'route'" in answer.json()["detail"]


def test_headers_that_name_a_user_are_not_believed(api: LambdaClient) -> None:
    headers = {"x-user-id": "admin", "x-user-role": "admin", "x-forwarded-user": "admin"}
    assert api.get("/api/models", headers=headers).status == 401
