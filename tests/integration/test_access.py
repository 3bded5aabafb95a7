"""Every route against every kind of caller: default deny, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.routing import APIRoute

from shared.auth.access import ACCESS, ROLES, SCOPES
from tests.architecture.test_routes import PUBLIC, routers
from tests.fakes.lambda_client import LambdaClient

PASSWORD = "long enough password"
ROUTES = sorted(
    (method, re.sub(r"\{[^}]+\}", "x", route.path), str(route.operation_id))
    for router in routers().values()
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
    if route.operation_id != "auth_logout"  # would end the session that asks
)
SCRAPE = "system_metrics"


@pytest.fixture
def people(admin: LambdaClient) -> dict[str, LambdaClient]:
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    clients = {"admin": admin}
    for role in ROLES[:-1]:
        email = f"{role}@davinci.local"
        with transaction(get_engine()) as connection:
            ensure_user(connection, email, PASSWORD, role=role)
        body = {"email": email, "password": PASSWORD}
        token = admin.with_token(None).post("/api/auth/login", body).json()["access_token"]
        clients[role] = admin.with_token(token)
    return clients


def test_only_the_public_list_answers_without_credentials(api: LambdaClient) -> None:
    for method, path, operation_id in [*ROUTES, ("POST", "/api/auth/logout", "auth_logout")]:
        answer = api.request(method, path, body={} if method in {"POST", "PATCH"} else None)
        is_public = f"{method} {path}" in PUBLIC
        assert (answer.status == 401) is not is_public or operation_id == "auth_refresh", (
            method, path, answer.body,
        )  # fmt: skip
        if not is_public:
            assert '"status":401' in answer.body or '"authentication_error"' in answer.body


def test_each_role_may_do_what_the_table_says(people: dict[str, LambdaClient]) -> None:
    for method, path, operation_id in ROUTES:
        access = ACCESS[operation_id]
        if access.public or operation_id == SCRAPE:
            continue
        for role, client in people.items():
            answer = client.request(method, path, body={} if method in {"POST", "PATCH"} else None)
            allowed = access.role is not None and ROLES.index(role) >= ROLES.index(access.role)
            assert (answer.status not in {401, 403}) is allowed, (role, method, path, answer.body)
            assert answer.status < 500, (role, method, path, answer.body)


def test_each_scope_may_do_what_the_table_says(make_key: Callable[..., LambdaClient]) -> None:
    keys = {scope: make_key(scope) for scope in SCOPES}
    for method, path, operation_id in ROUTES:
        access = ACCESS[operation_id]
        if access.public or operation_id == SCRAPE:
            continue
        for scope, client in keys.items():
            answer = client.request(method, path, body={} if method in {"POST", "PATCH"} else None)
            is_granted = access.any_key or access.scope == scope
            assert (answer.status != 403) is is_granted, (scope, method, path)
            assert answer.status != 401 and answer.status < 500


def test_headers_that_name_a_user_are_not_believed(api: LambdaClient) -> None:
    headers = {"x-user-id": "admin", "x-user-role": "admin", "x-forwarded-user": "admin"}
    assert api.get("/api/models", headers=headers).status == 401
