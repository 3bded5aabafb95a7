"""Coming in: logins, cookies, logout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.db.tables import refresh_tokens, users
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import ADMIN

COOKIE = "__Host-davinci-refresh"


def log_in(api: LambdaClient, **headers: str) -> Answer:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    return api.post(
        "/api/auth/login", body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def refresh(api: LambdaClient, token: str) -> Answer:
    return api.post("/api/auth/refresh", {"refresh_token": token})


@pytest.fixture
def anonymous(admin: LambdaClient) -> LambdaClient:
    return admin.with_token(None)


def test_login_gives_a_token_that_says_who_one_is(admin: LambdaClient) -> None:
    who = admin.get("/api/auth/verify").json()
    assert (who["kind"], who["name"], who["role"]) == ("user", ADMIN[0], "admin")
    assert datetime.fromisoformat(who["expires_at"]) <= datetime.now(UTC) + timedelta(minutes=15)


def test_email_is_compared_without_case(anonymous: LambdaClient) -> None:
    body = {"email": f" {ADMIN[0].upper()} ", "password": ADMIN[1]}
    assert anonymous.post("/api/auth/login", body).status == 200


def test_wrong_password_and_unknown_user_answer_alike(anonymous: LambdaClient) -> None:
    tries = [
        {"email": ADMIN[0], "password": "wrong"},
        {"email": "nobody@davinci.local", "password": ADMIN[1]},
        {"email": ADMIN[0], "password": ADMIN[1] + "\x00"},
        {"email": ADMIN[0], "password": "é" * 1_000},
    ]
    answers = [anonymous.post("/api/auth/login", body) for body in tries]
    assert {a.status for a in answers} == {401}
    assert len({a.body for a in answers}) == 1


def test_a_locked_out_user_can_neither_log_in_nor_refresh_nor_go_on(
    admin: LambdaClient, anonymous: LambdaClient, engine: sa.Engine
) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.begin() as connection:
        connection.execute(sa.update(users).values(is_active=False))
    assert log_in(anonymous).status == 401
    assert refresh(anonymous, token).status == 401
    assert admin.get("/api/auth/verify").status == 401


def test_refresh_rotates(anonymous: LambdaClient) -> None:
    first = log_in(anonymous).json()
    second = refresh(anonymous, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    who = anonymous.with_token(second["access_token"]).get("/api/auth/verify")
    assert who.json()["name"] == ADMIN[0]


def test_the_family_expires_when_it_was_meant_to(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    refresh(anonymous, token)
    with engine.connect() as connection:
        ends = connection.scalars(
            sa.select(refresh_tokens.c.expires_at).order_by(refresh_tokens.c.created_at.desc())
        ).all()
    assert ends[0] == ends[1]


def test_an_expired_refresh_token_is_refused(anonymous: LambdaClient, engine: sa.Engine) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE refresh_tokens SET expires_at = now() - interval '1s'"))
    assert refresh(anonymous, token).status == 401


def test_refresh_tokens_are_stored_hashed(anonymous: LambdaClient, engine: sa.Engine) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.connect() as connection:
        dump = connection.scalars(sa.text("SELECT t::text FROM refresh_tokens t")).all()
    assert dump and not any(token in row or token.encode().hex() in row for row in dump)


def test_a12_a_browser_gets_the_refresh_token_in_a_host_cookie_only(
    anonymous: LambdaClient,
) -> None:
    answer = log_in(anonymous, x_davinci_client="browser")
    assert answer.json()["refresh_token"] is None
    names = []
    for cookie in answer.cookies:
        name_value, *attributes = (part.strip() for part in cookie.split(";"))
        kept = {a.partition("=")[0].lower() for a in attributes}
        assert {"secure", "httponly", "path", "samesite"} <= kept and "domain" not in kept
        assert "SameSite=strict" in attributes and "Path=/" in attributes
        assert {"expires", "max-age"} & kept
        names.append(name_value.partition("=")[0])
    assert names == [COOKIE, "__Host-davinci-device"]


def test_a12_a_cookie_refreshes_only_with_the_csrf_header(anonymous: LambdaClient) -> None:
    cookie = log_in(anonymous, x_davinci_client="browser").cookies[0].partition(";")[0]
    for body in (None, {}, {"refresh_token": ""}, {"refresh_token": None}):
        forged = anonymous.post("/api/auth/refresh", body, cookies=(cookie,))
        assert forged.status == 403, body
        assert forged.json()["type"].endswith("/csrf")
    honest = anonymous.post("/api/auth/refresh", cookies=(cookie,), headers={"x-davinci-csrf": "1"})
    assert honest.status == 200 and honest.json()["refresh_token"] is None
    assert honest.cookies[0].partition(";")[0] not in {"", cookie}


def test_refresh_without_a_token_says_what_is_missing(anonymous: LambdaClient) -> None:
    assert anonymous.post("/api/auth/refresh").status == 401
    assert refresh(anonymous, "x" * 43).status == 401


def test_logout_ends_refresh_and_access_and_clears_the_cookie(anonymous: LambdaClient) -> None:
    session = log_in(anonymous).json()
    client = anonymous.with_token(session["access_token"])
    answer = client.post("/api/auth/logout")
    assert answer.status == 204 and answer.body == ""
    assert "Max-Age=0" in answer.cookies[0]
    assert refresh(anonymous, session["refresh_token"]).status == 401
    assert client.get("/api/auth/verify").status == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer\tx", "Bearer  ", "Token abc"]
)
def test_credentials_of_another_kind_are_401(anonymous: LambdaClient, header: str) -> None:
    answer = anonymous.get("/api/auth/verify", headers={"authorization": header})
    assert answer.status == 401


def test_roles_only_grow_upwards(admin: LambdaClient, anonymous: LambdaClient) -> None:
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    with transaction(get_engine()) as connection:
        for role in ("viewer", "operator"):
            ensure_user(connection, f"{role}@davinci.local", "long enough password", role=role)
    key = {"name": "k", "scopes": ["read"]}
    expected = {"viewer": (200, 403), "operator": (200, 201)}
    for role, (reading, writing) in expected.items():
        body = {"email": f"{role}@davinci.local", "password": "long enough password"}
        token = anonymous.post("/api/auth/login", body).json()["access_token"]
        client = anonymous.with_token(token)
        assert client.get("/api/models").status == reading
        refused = client.post("/api/keys", key)
        assert refused.status == writing, refused.body
