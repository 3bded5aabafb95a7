"""No state changes without its entry: every route but reads is audited, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import audit_log, metadata
from tests.architecture.test_routes import app_routes
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import ADMIN

MakeKey = Callable[..., LambdaClient]
# Tables of configuration and identity: whoever changes a row of these leaves an entry.
AUDITED_TABLES = {
    "users", "api_keys", "models", "policies", "policy_versions",
}  # fmt: skip
# What is no configuration, and where its own history lies.
UNAUDITED_TABLES = {
    "refresh_tokens": "a session's begin and end are entries; each refresh in between is a row",
    "login_throttle": "counts attempts; a lock-out is an entry",
    "decisions": "an append-only log", "outcomes": "an append-only log",
    "feedback": "an append-only log", "prices": "append-only, written with its model's entry",
    "outbox": "the event log", "event_sequence": "the event log", "inbox": "the event log",
    "projections": "a fold of the event log", "rollups": "a fold of the event log",
    "learner_states": "a fold of the event log", "model_snapshots": "part of the decision log",
    "in_flight": "decisions in work", "reservations": "decisions in work",
    "rate_limits": "a counter", "spend": "a counter", "breakers": "measured health",
    "idempotency_keys": "answers of audited changes", "audit_log": "itself", "audit_head": "itself",
}  # fmt: skip
UNAUDITED = {
    "auth_refresh": "nothing that the session's begin has not said; its misuse is an entry",
    "gateway_chat_completions": "decision and outcome are rows of the append-only log",
    "gateway_embeddings": "decision and outcome are rows of the append-only log",
    "neural_route": "the decision is a row of the append-only log",
    "neural_route_batch": "the decisions are rows of the append-only log",
    "neural_simulate": "writes nothing",
    "learning_record_feedback": "the feedback is a row of the append-only log",
    "learning_record_feedback_batch": "the feedback is rows of the append-only log",
    "learning_rebuild": "writes nothing",
    "learning_evaluate": "writes nothing",
}
MODEL = {
    "id": "x/y", "provider": "x", "base_url": "https://api.example.com/v1", "upstream_name": "y",
    "context_tokens": 8_192,
}  # fmt: skip
DOCUMENT = {
    "levels": {
        name: {"quality_value_usd": 0.02, "latency_cost_usd_per_s": 0.0}
        for name in ("L1", "L2", "L3", "L4")
    }
}
USER = {"email": "ada@x.y", "password": "another long password", "role": "viewer"}


def _create_user(admin: LambdaClient) -> str:
    made: str = admin.post("/api/users", USER).json()["id"]
    return made


def _create_key(admin: LambdaClient) -> str:
    made: str = admin.post("/api/keys", {"name": "k", "scopes": ["read"]}).json()["id"]
    return made


def _create_model(admin: LambdaClient) -> str:
    assert admin.post("/api/models", MODEL).status == 201
    return "x/y"


def _log_in(admin: LambdaClient, _: str) -> Answer:
    return admin.with_token(None).post("/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]})


def _change_password(admin: LambdaClient, _: str) -> Answer:
    body = {"current_password": ADMIN[1], "new_password": "another long password"}
    return admin.post("/api/users/me/password", body)


def _nothing(_: LambdaClient) -> str:
    return ""


Prepare = Callable[[LambdaClient], str]
Change = Callable[[LambdaClient, str], Answer]
MATCH = {"if-match": "*"}
# operation: what has to be there, the change, the entry's action, whether it has before and after.
AUDITED: dict[str, tuple[Prepare, Change, str, tuple[bool, bool]]] = {
    "auth_login": (_nothing, _log_in, "session.started", (False, True)),
    "auth_logout": (
        _nothing, lambda a, _: a.post("/api/auth/logout"), "session.ended", (True, False),
    ),
    "auth_create_user": (
        _nothing, lambda a, _: a.post("/api/users", USER), "user.created", (False, True),
    ),
    "auth_update_user": (
        _create_user,
        lambda a, i: a.patch(f"/api/users/{i}", {"role": "operator"}, headers=MATCH),
        "user.updated", (True, True),
    ),
    "auth_delete_user": (
        _create_user, lambda a, i: a.delete(f"/api/users/{i}"), "user.deleted", (True, False),
    ),
    "auth_change_password": (
        _nothing, _change_password, "user.password_changed", (False, False),
    ),
    "auth_create_key": (
        _nothing, lambda a, _: a.post("/api/keys", {"name": "k", "scopes": ["read"]}),
        "key.created", (False, True),
    ),
    "auth_rotate_key": (
        _create_key, lambda a, i: a.post(f"/api/keys/{i}/rotate"), "key.rotated", (True, True),
    ),
    "auth_revoke_key": (
        _create_key, lambda a, i: a.delete(f"/api/keys/{i}"), "key.revoked", (True, False),
    ),
    "models_create": (
        _nothing, lambda a, _: a.post("/api/models", MODEL), "model.created", (False, True),
    ),
    "models_update": (
        _create_model,
        lambda a, i: a.patch(f"/api/models/{i}", {"enabled": False}, headers=MATCH),
        "model.updated", (True, True),
    ),
    "policies_create": (
        _nothing, lambda a, _: a.post("/api/policies", {"name": "p", "document": DOCUMENT}),
        "policy.created", (False, True),
    ),
}  # fmt: skip


def test_every_route_that_is_no_read_is_audited_or_says_why_not() -> None:
    writes = {
        operation
        for route, (_, operation) in app_routes().items()
        if not route.startswith(("GET ", "ANY "))
    }
    writes.discard("system_fallback")
    assert not AUDITED.keys() & UNAUDITED.keys()
    assert writes == AUDITED.keys() | UNAUDITED.keys()


def test_every_table_is_audited_or_says_why_not() -> None:
    assert {table.name for table in metadata.sorted_tables} == AUDITED_TABLES | set(
        UNAUDITED_TABLES
    )


def _state(engine: sa.Engine, tables: set[str]) -> dict[str, list[str]]:
    with engine.connect() as connection:
        return {
            name: sorted(connection.scalars(sa.text(f"SELECT t::text FROM {name} t")))  # noqa: S608
            for name in tables
        }


def _entries(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(audit_log).order_by(audit_log.c.seq)))


@pytest.mark.parametrize("operation", AUDITED)
def test_a_change_is_one_entry_with_who_what_before_and_after(
    admin: LambdaClient, engine: sa.Engine, operation: str
) -> None:
    prepare, change, action, (has_before, has_after) = AUDITED[operation]
    thing = prepare(admin)
    me = admin.get("/api/auth/verify").json()["id"]
    before = _entries(engine)
    answer = change(admin, thing)
    assert answer.status in {200, 201, 204}, answer.body
    (entry,) = _entries(engine)[len(before) :]
    assert (entry.action, entry.actor_id, entry.actor_name) == (action, me, ADMIN[0])
    assert entry.resource and entry.request_id == answer.headers["x-request-id"]
    assert (entry.before is not None, entry.after is not None) == (has_before, has_after)


@pytest.mark.parametrize("operation", AUDITED)
def test_without_its_entry_nothing_changes(
    admin: LambdaClient, engine: sa.Engine, operation: str
) -> None:
    prepare, change, _, _ = AUDITED[operation]
    thing = prepare(admin)
    tables = AUDITED_TABLES | {"refresh_tokens", "prices"}
    before = _state(engine, tables)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_log RENAME TO audit_log_away"))
    try:
        assert change(admin, thing).status >= 500
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE audit_log_away RENAME TO audit_log"))
    assert _state(engine, tables) == before
