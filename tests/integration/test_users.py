"""Users and roles, their sessions, and the administrator who must stay."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import audit_log, users
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN

ADA = {"email": "ada@davinci.local", "password": "difference engine", "role": "operator"}


def log_in(api: LambdaClient, email: str, password: str) -> Answer:
    return api.with_token(None).post("/api/auth/login", {"email": email, "password": password})


def client_of(api: LambdaClient, email: str, password: str) -> LambdaClient:
    return api.with_token(log_in(api, email, password).json()["access_token"])


def change(admin: LambdaClient, user: dict[str, Any], **values: Any) -> Answer:
    tag = {"if-match": f'"{user["revision"]}"'}
    return admin.patch(f"/api/users/{user['id']}", values, headers=tag)


def myself(admin: LambdaClient) -> dict[str, Any]:
    found: dict[str, Any] = next(
        u for u in admin.get("/api/users").json()["items"] if u["email"] == ADMIN[0]
    )
    return found


@pytest.fixture
def ada(admin: LambdaClient) -> dict[str, Any]:
    created = admin.post("/api/users", ADA)
    assert created.status == 201, created.body
    user: dict[str, Any] = created.json()
    return user


def test_a_new_user_is_listed_and_can_log_in(admin: LambdaClient, ada: dict[str, Any]) -> None:
    assert ada["id"].startswith("usr_") and "password" not in str(sorted(ada)).replace(
        "password_changed_at", ""
    )
    assert admin.get("/api/users").json()["items"][0] == ada
    who = client_of(admin, ADA["email"], ADA["password"]).get("/api/auth/verify").json()
    assert (who["id"], who["role"]) == (ada["id"], "operator")
    assert admin.get("/api/users").json()["items"][0]["last_login_at"] is not None


def test_an_email_is_taken_once_whatever_its_case(admin: LambdaClient, ada: dict[str, Any]) -> None:
    again = admin.post("/api/users", {**ADA, "email": ADA["email"].upper()})
    assert (again.status, again.json()["type"].rpartition("/")[2]) == (409, "user-exists")


@pytest.mark.parametrize("path", ["usr_" + "0" * 32, "usr_x", "me", "key_" + "0" * 32, "'"])
def test_what_is_not_there_is_404(admin: LambdaClient, path: str) -> None:
    assert admin.patch(f"/api/users/{path}", {}, headers={"if-match": "*"}).status == 404
    assert admin.delete(f"/api/users/{path}").status == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"password": "short"}, "#/password"),
        ({"password": "x" * 1_025}, "#/password"),
        ({"password": "é" * 600}, "#/password"),
        ({"password": "password1"}, "#/password"),
        ({"password": "PassWord1"}, "#/password"),
        ({"password": "ada@davinci.local"}, "#/password"),
        ({"role": "root"}, "#/role"),
        ({"email": "ada"}, "#/email"),
        ({"email": "İ@davinci.local"}, "#/email"),
        ({"is_active": False}, "#/is_active"),
    ],
)
def test_a_bad_user_is_refused_with_the_place(
    admin: LambdaClient, body: dict[str, Any], pointer: str
) -> None:
    refused = admin.post("/api/users", {**ADA, **body})
    assert refused.status == 422, refused.body
    assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]
    assert "password" not in body or body["password"] not in refused.body


@pytest.mark.parametrize(
    "password", ["x" * 7 + "!", "x" * 1_024, "        ", "пароль пароль", "x" * 64]
)
def test_a6_no_rules_of_composition_and_nothing_is_cut_off(
    admin: LambdaClient, password: str
) -> None:
    assert admin.post("/api/users", {**ADA, "password": password}).status == 201
    assert log_in(admin, ADA["email"], password).status == 200
    assert log_in(admin, ADA["email"], password[:-1]).status == 401


def test_a_change_needs_the_state_that_it_changes(admin: LambdaClient, ada: dict[str, Any]) -> None:
    url = f"/api/users/{ada['id']}"
    assert admin.patch(url, {"role": "viewer"}).status == 428
    assert admin.patch(url, {"role": "viewer"}, headers={"if-match": '"7"'}).status == 412
    done = change(admin, ada, role="viewer")
    assert done.status == 200 and done.headers["etag"] == '"2"' and done.json()["role"] == "viewer"
    assert change(admin, ada, role="admin").status == 412


def test_null_removes_nothing(admin: LambdaClient, ada: dict[str, Any]) -> None:
    refused = change(admin, ada, role=None, is_active=None)
    assert [e["pointer"] for e in refused.json()["errors"]] == ["#/role", "#/is_active"]


@pytest.mark.parametrize(
    "values",
    [
        {"is_active": False},
        {"role": "viewer"},
        {"role": "admin"},
        {"password": "analytical engine"},
    ],
)
def test_a4_a_change_of_rights_ends_the_users_sessions(
    admin: LambdaClient, ada: dict[str, Any], values: dict[str, Any]
) -> None:
    session = log_in(admin, ADA["email"], ADA["password"]).json()
    client = admin.with_token(session["access_token"])
    assert client.get("/api/auth/verify").status == 200
    assert change(admin, ada, **values).status == 200
    refreshed = client.with_token(None).post(
        "/api/auth/refresh", {"refresh_token": session["refresh_token"]}
    )
    assert refreshed.status == 401
    assert client.get("/api/auth/verify").status == 401
    assert admin.get("/api/auth/verify").status == 200


def test_a4_nothing_of_a_deleted_user_works_but_the_keys_that_they_made(
    admin: LambdaClient, ada: dict[str, Any]
) -> None:
    session = log_in(admin, ADA["email"], ADA["password"]).json()
    client = admin.with_token(session["access_token"])
    key = client.post("/api/keys", {"name": "shop", "scopes": ["read"]}).json()
    assert admin.delete(f"/api/users/{ada['id']}").status == 204
    assert client.get("/api/auth/verify").status == 401
    body = {"refresh_token": session["refresh_token"]}
    assert client.with_token(None).post("/api/auth/refresh", body).status == 401
    assert log_in(admin, ADA["email"], ADA["password"]).status == 401
    assert admin.with_token(key["secret"]).get("/api/models").status == 200
    assert admin.delete(f"/api/users/{ada['id']}").status == 404


def test_a_locked_out_user_can_be_let_in_again_but_old_sessions_stay_ended(
    admin: LambdaClient, ada: dict[str, Any]
) -> None:
    session = log_in(admin, ADA["email"], ADA["password"]).json()
    locked_out = change(admin, ada, is_active=False).json()
    assert log_in(admin, ADA["email"], ADA["password"]).status == 401
    assert change(admin, locked_out, is_active=True).status == 200
    assert admin.with_token(session["access_token"]).get("/api/auth/verify").status == 401
    assert log_in(admin, ADA["email"], ADA["password"]).status == 200


def test_a_login_that_a_change_overtook_is_refused(
    admin: LambdaClient, ada: dict[str, Any], engine: sa.Engine
) -> None:
    from functions.auth.repository import find_user_by_email, note_login

    def begin(seen: Any) -> bool:
        """Go on as a login does whose password was right a moment ago."""
        with engine.begin() as connection:
            return note_login(connection, seen.id, seen.password_changed_at, None) is not None

    with engine.connect() as connection:
        seen = find_user_by_email(connection, ADA["email"])
    assert begin(seen)
    renewed = change(admin, ada, password="analytical engine").json()
    assert not begin(seen)
    with engine.connect() as connection:
        seen = find_user_by_email(connection, ADA["email"])
    assert begin(seen)
    change(admin, renewed, is_active=False)
    assert not begin(seen)


class TestOwnPassword:
    URL = "/api/users/me/password"

    def test_it_ends_every_other_session(self, admin: LambdaClient) -> None:
        other = log_in(admin, *ADMIN).json()
        body = {"current_password": ADMIN[1], "new_password": "a new long password"}
        assert admin.post(self.URL, body).status == 204
        assert admin.get("/api/auth/verify").status == 200
        assert admin.with_token(other["access_token"]).get("/api/auth/verify").status == 401
        refreshed = admin.with_token(None).post(
            "/api/auth/refresh", {"refresh_token": other["refresh_token"]}
        )
        assert refreshed.status == 401
        assert log_in(admin, *ADMIN).status == 401
        assert log_in(admin, ADMIN[0], "a new long password").status == 200

    def test_it_needs_the_current_one_and_guesses_are_slow(self, admin: LambdaClient) -> None:
        body = {"current_password": "wrong", "new_password": "a new long password"}
        statuses = [admin.post(self.URL, body).status for _ in range(6)]
        assert statuses == [403] * 4 + [429] * 2
        assert log_in(admin, *ADMIN).status == 200  # logging in has a counter of its own

    def test_guesses_count_also_with_an_idempotency_key(self, admin: LambdaClient) -> None:
        body = {"current_password": "wrong", "new_password": "a new long password"}
        statuses = [
            admin.post(self.URL, body, headers={"idempotency-key": f"k{n}"}).status
            for n in range(6)
        ]
        assert statuses == [403] * 4 + [429] * 2

    def test_sent_again_with_its_key_it_is_one_change(self, admin: LambdaClient) -> None:
        body = {"current_password": ADMIN[1], "new_password": "a new long password"}
        key = {"idempotency-key": "k"}
        assert [admin.post(self.URL, body, headers=key).status for _ in range(2)] == [204, 204]
        changed = admin.get("/api/audit", {"action": "user.password_changed"}).json()["items"]
        assert len(changed) == 1

    def test_the_new_one_has_to_be_good(self, admin: LambdaClient) -> None:
        for new in ("qwertyuiop", ADMIN[0]):
            body = {"current_password": ADMIN[1], "new_password": new}
            refused = admin.post(self.URL, body)
            assert refused.status == 422
            assert [e["pointer"] for e in refused.json()["errors"]] == ["#/new_password"]
        assert log_in(admin, *ADMIN).status == 200

    def test_anybody_logged_in_may_but_no_key(
        self, admin: LambdaClient, ada: dict[str, Any]
    ) -> None:
        client = client_of(admin, ADA["email"], ADA["password"])
        body = {"current_password": ADA["password"], "new_password": "a new long password"}
        key = client.post("/api/keys", {"name": "k", "scopes": ["manage"]}).json()["secret"]
        assert admin.with_token(key).post(self.URL, body).status == 403
        assert client.post(self.URL, body).status == 204


class TestLastAdministrator:
    @pytest.mark.parametrize("values", [{"is_active": False}, {"role": "operator"}])
    def test_cannot_be_locked_out_or_demoted(
        self, admin: LambdaClient, values: dict[str, Any]
    ) -> None:
        refused = change(admin, myself(admin), **values)
        assert (refused.status, refused.json()["type"].rpartition("/")[2]) == (409, "last-admin")

    def test_cannot_be_deleted(self, admin: LambdaClient) -> None:
        assert admin.delete(f"/api/users/{myself(admin)['id']}").status == 409
        assert admin.get("/api/auth/verify").status == 200

    def test_a_locked_out_administrator_does_not_count(
        self, admin: LambdaClient, ada: dict[str, Any]
    ) -> None:
        second = change(admin, ada, role="admin").json()
        assert change(admin, second, is_active=False).status == 200
        assert admin.delete(f"/api/users/{myself(admin)['id']}").status == 409

    def test_with_another_one_each_may_go(self, admin: LambdaClient, ada: dict[str, Any]) -> None:
        change(admin, ada, role="admin")
        assert admin.delete(f"/api/users/{myself(admin)['id']}").status == 204

    @pytest.mark.parametrize("how", ["demote", "disable", "delete"])
    @pytest.mark.usefixtures("many_connections")
    def test_two_who_remove_each_other_leave_one(
        self, admin: LambdaClient, engine: sa.Engine, how: str
    ) -> None:
        rounds, anomalies, moves = 100, 0, 0
        for n in range(rounds):
            anomalies += _duel(engine, n, how) != 1
            moves += 1
        assert (moves, anomalies) == (rounds, 0)


def _duel(engine: sa.Engine, n: int, how: str) -> int:
    """Let two administrators remove each other at once; return how many are left."""
    from functions.auth import users as service
    from functions.auth.errors import LastAdminError
    from shared.audit import Actor
    from shared.config import get_settings
    from shared.db.engine import get_engine, transaction
    from shared.errors import ForbiddenError
    from shared.kit.ids import to_text, uuid7
    from shared.schemas.auth import UserUpdate

    ids = [uuid7(), uuid7()]
    with engine.begin() as connection:
        connection.execute(sa.delete(users))
        for index, user_id in enumerate(ids):
            connection.execute(
                sa.insert(users).values(
                    id=user_id, email=f"{n}.{index}@x.y", password_hash="-", role="admin"
                )
            )
    names = [to_text("usr", user_id) for user_id in ids]
    wanted = UserUpdate(role="viewer") if how == "demote" else UserUpdate(is_active=False)
    barrier = threading.Barrier(2)

    def remove(index: int) -> None:
        me, other = Actor(names[index], "x"), names[1 - index]
        with transaction(get_engine()) as connection:
            connection.execute(sa.select(1))
            barrier.wait(20)
            if how == "delete":
                service.remove(connection, other, me)
            else:
                service.change(connection, get_settings(), other, wanted, '"1"', me)

    def attempt(index: int) -> None:
        try:
            remove(index)
        except (LastAdminError, ForbiddenError):
            return

    at_once(2, attempt)
    with engine.connect() as connection:
        left = sa.select(sa.func.count()).where(users.c.role == "admin", users.c.is_active)
        return connection.scalar(left) or 0


@pytest.mark.usefixtures("many_connections")
def test_no_session_survives_a_lock_out_that_meets_a_refresh(
    admin: LambdaClient, ada: dict[str, Any]
) -> None:
    for _ in range(10):
        token = log_in(admin, ADA["email"], ADA["password"]).json()["refresh_token"]
        user = admin.get("/api/users").json()["items"][0]

        def act(n: int, token: str = token, user: dict[str, Any] = user) -> Answer:
            if n == 0:
                return change(admin, user, is_active=False)
            body = {"refresh_token": token}
            return admin.with_token(None).post("/api/auth/refresh", body)

        locked_out, refreshed = at_once(2, act)
        assert locked_out.status == 200 and refreshed.status in {200, 401}, refreshed.body
        assert change(admin, locked_out.json(), is_active=True).status == 200
        if refreshed.status == 200:
            body = {"refresh_token": refreshed.json()["refresh_token"]}
            assert admin.with_token(None).post("/api/auth/refresh", body).status == 401


def test_only_administrators_see_and_change_users(admin: LambdaClient, ada: dict[str, Any]) -> None:
    client = client_of(admin, ADA["email"], ADA["password"])
    assert client.get("/api/users").status == 403
    assert client.post("/api/users", ADA).status == 403
    assert change(client, ada, role="admin").status == 403
    assert client.delete(f"/api/users/{ada['id']}").status == 403


def test_every_change_of_a_user_is_audited_without_any_password(
    admin: LambdaClient, ada: dict[str, Any], engine: sa.Engine
) -> None:
    second = change(admin, ada, role="viewer", password="analytical engine").json()
    change(admin, second, unlock=True)
    admin.delete(f"/api/users/{ada['id']}")
    with engine.connect() as connection:
        entries = connection.execute(
            sa.select(audit_log).where(audit_log.c.resource == ada["id"]).order_by(audit_log.c.seq)
        ).all()
    assert [e.action for e in entries] == [
        "user.created", "user.updated", "user.updated", "user.deleted",
    ]  # fmt: skip
    assert entries[1].before == '{"role":"operator"}'
    assert entries[1].after == '{"password_changed":true,"role":"viewer"}'
    assert entries[2].after == '{"unlocked":true}'
    assert {e.actor_name for e in entries} == {ADMIN[0]}
    dump = str(entries)
    assert "analytical" not in dump and "argon2" not in dump and ADA["password"] not in dump


def test_pages_show_every_user_once(admin: LambdaClient) -> None:
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    with transaction(get_engine()) as connection:
        for n in range(4):
            ensure_user(connection, f"u{n}@davinci.local", "a long password", "viewer")
    first = admin.get("/api/users", {"limit": 3}).json()
    rest = admin.get("/api/users", {"limit": 3, "cursor": first["next_cursor"]}).json()
    seen = [u["email"] for u in first["items"] + rest["items"]]
    assert seen == [*(f"u{n}@davinci.local" for n in (3, 2, 1, 0)), ADMIN[0]]
    assert rest["next_cursor"] is None
