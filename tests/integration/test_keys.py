"""API keys: shown once, checked offline, scoped, revocable, expiring."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.db.tables import api_keys
from shared.kit.clock import utc_now
from tests.fakes.lambda_client import LambdaClient

MakeKey = Callable[..., LambdaClient]


def test_a_secret_is_shown_once_and_stored_nowhere(admin: LambdaClient, engine: sa.Engine) -> None:
    created = admin.post("/api/keys", {"name": "shop", "scopes": ["chat", "read", "chat"]}).json()
    secret = created["secret"]
    assert secret.startswith("dv_local_") and secret.startswith(created["prefix"])
    assert created["scopes"] == ["chat", "read"]
    (listed,) = admin.get("/api/keys").json()["items"]
    assert listed == {k: v for k, v in created.items() if k != "secret"}
    with engine.connect() as connection:
        row = connection.scalar(sa.text("SELECT k::text FROM api_keys k"))
    assert secret not in row and secret[20:] not in row


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_identifies_its_application(make_key: MakeKey, header: str) -> None:
    key = make_key("read")
    assert key.token is not None
    value = f"Bearer {key.token}" if header == "authorization" else key.token
    who = key.with_token(None).get("/api/auth/verify", headers={header: value})
    assert who.status == 200, who.body
    assert who.json()["kind"] == "api_key" and who.json()["scopes"] == ["read"]


def test_a_mistyped_key_is_refused_without_a_query(make_key: MakeKey) -> None:
    from shared.db.engine import get_engine

    key = make_key("read")
    assert key.token is not None
    statements: list[str] = []

    def record(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    last = "a" if key.token[-1] != "a" else "b"
    mistyped = [
        key.token[:-1] + last,
        key.token[:12] + last + key.token[13:] if key.token[12] != last else key.token + "x",
        key.token.replace("dv_local_", "dv_prod_"),
        key.token + "x",
        "dv_", "dv___", "dv_local_", "dv_local_" + "é" * 36, "dv_local_" + "0" * 36,
    ]  # fmt: skip
    sa.event.listen(get_engine(), "before_cursor_execute", record)
    try:
        for text in mistyped:
            answer = key.with_token(text).get("/api/auth/verify")
            assert answer.status == 401, text
            assert "mistyped" in answer.json()["detail"]
        assert statements == []
        assert key.get("/api/auth/verify").status == 200
        assert statements != []  # the listener does listen
    finally:
        sa.event.remove(get_engine(), "before_cursor_execute", record)


def test_a_well_formed_key_that_nobody_issued_is_refused(api: LambdaClient) -> None:
    from shared.auth.api_keys import generate_key

    assert api.with_token(generate_key("local")).get("/api/auth/verify").status == 401


def test_a_revoked_key_stops_working_and_revoking_again_changes_nothing(
    admin: LambdaClient, make_key: MakeKey
) -> None:
    key = make_key("read")
    (listed,) = admin.get("/api/keys").json()["items"]
    assert admin.delete(f"/api/keys/{listed['id']}").status == 204
    assert key.get("/api/models").status == 401
    first = admin.get("/api/keys").json()["items"][0]["revoked_at"]
    assert first is not None
    assert admin.delete(f"/api/keys/{listed['id']}").status == 204
    assert admin.get("/api/keys").json()["items"][0]["revoked_at"] == first


@pytest.mark.parametrize("key_id", ["key_" + "0" * 32, "key_x", "dec_" + "0" * 32, "%00", "'"])
def test_revoking_what_is_not_there_is_404(admin: LambdaClient, key_id: str) -> None:
    assert admin.delete(f"/api/keys/{key_id}").status == 404


def test_a_key_expires_by_the_databases_clock(
    admin: LambdaClient, make_key: MakeKey, engine: sa.Engine
) -> None:
    key = make_key("read", expires_at=(utc_now() + timedelta(hours=1)).isoformat())
    assert key.get("/api/models").status == 200
    with engine.begin() as connection:
        connection.execute(
            sa.update(api_keys).values(expires_at=sa.text("clock_timestamp() - interval '1 s'"))
        )
    assert key.get("/api/models").status == 401


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("route", "POST", "/api/neural/route", {"prompt": "x"}),
        ("chat", "POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user"}]}),
        ("chat", "GET", "/v1/models", None),
        (
            "feedback",
            "POST",
            "/api/learning/feedback",
            {"decision_id": "dec_" + "0" * 32, "score": 1},
        ),
        ("read", "GET", "/api/neural/history", None),
        ("read", "GET", "/api/events", None),
        ("manage", "POST", "/api/policies", {}),
        ("manage", "GET", "/api/keys", None),
    ],
)
def test_each_scope_opens_its_routes_and_no_others(
    make_key: MakeKey, scope: str, method: str, path: str, body: object
) -> None:
    others = {"route", "chat", "feedback", "read", "manage"} - {scope}
    refused = make_key(*others).request(method, path, body=body)
    assert refused.status == 403, refused.body
    said = refused.json()
    text = said["error"]["message"] if path.startswith("/v1/") else said["detail"]
    assert repr(scope) in text
    assert make_key(scope).request(method, path, body=body).status not in {401, 403}


def test_a_key_cannot_do_what_only_people_may(make_key: MakeKey) -> None:
    everything = make_key("route", "chat", "feedback", "read", "manage")
    assert everything.post("/api/auth/logout").status == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, "#/scopes"),
        ({"name": "", "scopes": ["read"]}, "#/name"),
        ({"name": "x", "scopes": []}, "#/scopes"),
        ({"name": "x", "scopes": ["admin"]}, "#/scopes/0"),
        ({"name": "x", "scopes": ["read"], "secret": "mine"}, "#/secret"),
        ({"name": "x", "scopes": ["read"], "expires_at": "2026-01-01T00:00:00"}, "#/expires_at"),
        ({"name": "x", "scopes": ["read"], "labels": {"team": 1}}, "#/labels/team"),
    ],
)
def test_a_bad_key_request_says_where(admin: LambdaClient, body: object, pointer: str) -> None:
    refused = admin.post("/api/keys", body)
    assert refused.status == 422
    assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]


def test_pages_show_every_key_once_while_keys_come(admin: LambdaClient, make_key: MakeKey) -> None:
    for _ in range(5):
        make_key("read")
    before = {k["id"] for k in admin.get("/api/keys", {"limit": 100}).json()["items"]}
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = admin.get("/api/keys", {"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [k["id"] for k in page["items"]]
        cursor = page["next_cursor"]
        make_key("read")
    assert sorted(seen) == sorted(before) and len(set(seen)) == len(seen)


@pytest.mark.parametrize("ago", [timedelta(seconds=1), timedelta(days=300_000)])
def test_a_key_that_would_be_expired_already_is_refused(
    admin: LambdaClient, ago: timedelta
) -> None:
    then = (utc_now() - ago).isoformat()
    refused = admin.post("/api/keys", {"name": "x", "scopes": ["read"], "expires_at": then})
    assert refused.status == 422
    assert refused.json()["errors"] == [{"pointer": "#/expires_at", "detail": "it is in the past"}]


def test_last_instants_of_the_calendar_do_not_break_a_key(admin: LambdaClient) -> None:
    far = datetime(9999, 12, 31, 23, 59, tzinfo=UTC).isoformat()
    made = admin.post("/api/keys", {"name": "x", "scopes": ["read"], "expires_at": far})
    assert made.status == 201, made.body
    assert admin.with_token(made.json()["secret"]).get("/api/models").status == 200
