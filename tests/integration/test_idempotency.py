"""A request that is sent twice with one Idempotency-Key has one effect and one answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shared.db.tables import (
    api_keys,
    decisions,
    feedback,
    idempotency_keys,
    models,
    outbox,
    policies,
)
from shared.errors import DomainError
from shared.web import idempotency
from tests.architecture.test_routes import routers
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import process_with

MakeKey = Callable[..., LambdaClient]
ROOT = Path(__file__).parents[2]
KEY = {"idempotency-key": "0f1e-the-first"}
MODEL = {
    "id": "test/once",
    "provider": "test",
    "base_url": "https://models.example/v1",
    "upstream_name": "once",
    "input_usd_per_mtok": 1.0,
    "output_usd_per_mtok": 1.0,
    "context_tokens": 8_192,
}


def count(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def assert_replayed(first: Answer, second: Answer) -> None:
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (second.status, second.body) == (first.status, first.body)
    kept = ("content-type", "etag", "location")
    assert [second.headers.get(n) for n in kept] == [first.headers.get(n) for n in kept]


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [
        ("/api/models", MODEL, models),
        ("/api/keys", {"name": "k", "scopes": ["read"]}, api_keys),
        ("/api/neural/route", {"prompt": "x"}, decisions),
        ("/api/neural/route/batch", {"items": [{"prompt": "x"}, {"nonsense": 1}]}, decisions),
    ],
)
def test_the_second_request_gets_the_first_ones_answer(
    admin: LambdaClient, registry: list[str], engine: sa.Engine,
    path: str, body: Any, table: sa.Table,
) -> None:  # fmt: skip
    before = count(engine, table)
    first = admin.post(path, body, headers=KEY)
    assert first.status in {200, 201}
    events = count(engine, outbox)
    assert_replayed(first, admin.post(path, body, headers=KEY))
    assert count(engine, table) == before + 1
    assert count(engine, outbox) == events


def test_policies_are_created_once(
    admin: LambdaClient, registry: list[str], engine: sa.Engine
) -> None:
    document = admin.get("/api/policies").json()["items"][0]["document"]
    body = {"name": "mine", "document": document}
    before = count(engine, policies)
    first = admin.post("/api/policies", body, headers=KEY)
    assert first.status == 201
    assert_replayed(first, admin.post("/api/policies", body, headers=KEY))
    # Without the key it is what it would have been: a conflict.
    assert admin.post("/api/policies", body).status == 409
    assert count(engine, policies) == before + 1


@pytest.mark.parametrize("path", ["/api/learning/feedback", "/api/learning/feedback/batch"])
def test_feedback_is_recorded_once(
    admin: LambdaClient, registry: list[str], engine: sa.Engine, path: str
) -> None:
    decided = admin.post("/api/neural/route", {"prompt": "x"}).json()
    judged = {"decision_id": decided["decision_id"], "score": 1, "source": "test"}
    body = {"items": [judged]} if path.endswith("batch") else judged
    first = admin.post(path, body, headers=KEY)
    assert first.status in {200, 201}
    # The answer says "added", where sending it again without the key says "was there".
    assert_replayed(first, admin.post(path, body, headers=KEY))
    assert admin.post(path, body).body != first.body or path.endswith("feedback")
    assert count(engine, feedback) == 1


def test_a_changed_configuration_is_changed_once(admin: LambdaClient, registry: list[str]) -> None:
    path = f"/api/models/{registry[0]}"
    headers = {**KEY, "if-match": admin.get(path).headers["etag"]}
    first = admin.patch(path, {"enabled": False}, headers=headers)
    assert first.status == 200
    # Without the key the second one would be refused: the ETag has moved on.
    assert_replayed(first, admin.patch(path, {"enabled": False}, headers=headers))


def test_another_request_with_the_same_key_is_refused(
    admin: LambdaClient, registry: list[str], engine: sa.Engine
) -> None:
    assert admin.post("/api/neural/route", {"prompt": "x"}, headers=KEY).status == 200
    other = admin.post("/api/neural/route", {"prompt": "y"}, headers=KEY)
    assert other.status == 422
    assert other.json()["type"].endswith("/idempotency-key-reused")
    assert other.json()["errors"][0]["pointer"] == "header:idempotency-key"
    assert count(engine, decisions) == 1


def test_keys_belong_to_a_caller_and_a_route(
    make_key: MakeKey, registry: list[str], engine: sa.Engine
) -> None:
    one, another = make_key("route"), make_key("route")
    ids = {
        client.post("/api/neural/route", {"prompt": "x"}, headers=KEY).json()["decision_id"]
        for client in (one, another, one, another)
    }
    assert len(ids) == 2
    batch = one.post("/api/neural/route/batch", {"items": [{"prompt": "x"}]}, headers=KEY)
    assert batch.status == 200 and "idempotency-replayed" not in batch.headers
    assert count(engine, decisions) == 3


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "sch\xf6n", "a\x7fb", " x", "x\ty"])
@pytest.mark.parametrize("path", ["/api/keys", "/api/neural/route"])
def test_a_malformed_key_is_a_400(admin: LambdaClient, path: str, key: str) -> None:
    body = {"prompt": "x"} if "neural" in path else {"name": "k", "scopes": ["read"]}
    answer = admin.post(path, body, headers={"idempotency-key": key})
    assert answer.status == 400, answer.body
    assert answer.json()["type"].endswith("/malformed-idempotency-key")
    assert answer.json()["errors"][0]["pointer"] == "header:idempotency-key"


def test_the_longest_and_the_shortest_key_are_keys(admin: LambdaClient) -> None:
    for key in ("x", "~" * 255, "a key, with spaces"):
        body = {"name": "k", "scopes": ["read"]}
        assert admin.post("/api/keys", body, headers={"idempotency-key": key}).status == 201


def test_an_error_leaves_the_key_free(admin: LambdaClient, engine: sa.Engine) -> None:
    refused = admin.post("/api/neural/route", {"prompt": "x"}, headers=KEY)
    assert refused.status >= 400  # there is no model yet
    assert admin.post("/api/keys", {"name": ""}, headers=KEY).status == 422
    assert count(engine, idempotency_keys) == 0
    assert admin.post("/api/keys", {"name": "k", "scopes": ["read"]}, headers=KEY).status == 201


def test_what_is_stored_tells_nothing(admin: LambdaClient, engine: sa.Engine) -> None:
    body = {"name": "canary-name-11", "scopes": ["read"]}
    created = admin.post("/api/keys", body, headers=KEY).json()
    assert created["secret"].startswith("dv_")
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(idempotency_keys)).mappings()
    stored = b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row.values())
    for secret in (created["secret"], KEY["idempotency-key"], "canary-name-11", created["id"]):
        assert secret.encode() not in stored


def test_answers_outlive_one_rotation_of_the_signing_secret(
    admin: LambdaClient, environment: dict[str, str], tmp_path: Path, engine: sa.Engine
) -> None:
    old = json.loads(Path(environment["DAVINCI_SIGNING_KEYS"].removeprefix("file:")).read_text())
    body = {"name": "k", "scopes": ["manage", "read"]}
    client = admin.with_token(admin.post("/api/keys", body).json()["secret"])
    first = client.post("/api/keys", {"name": "l", "scopes": ["read"]}, headers=KEY)
    answers = []
    for current, previous in (("new", old["current"]), ("newer", "new")):
        secret = tmp_path / f"{current}.json"
        secret.write_text(json.dumps({"current": current, "previous": previous}))
        with process_with({"DAVINCI_SIGNING_KEYS": f"file:{secret}"}):
            answers.append(client.post("/api/keys", {"name": "l", "scopes": ["read"]}, headers=KEY))
    assert_replayed(first, answers[0])
    # After two of them it cannot be read any more, and is not done again.
    assert answers[1].status == 409
    assert count(engine, api_keys) == 2


def send(client: LambdaClient, path: str, body: Any, _place: int) -> Answer:
    return client.post(path, body, headers=KEY)


def test_fifty_at_once_have_one_effect(
    many_connections: None, make_key: MakeKey, registry: list[str], engine: sa.Engine
) -> None:
    client = make_key("route", "manage", "read")
    for path, body, table in (
        ("/api/neural/route", {"prompt": "x"}, decisions),
        ("/api/keys", {"name": "once", "scopes": ["read"]}, api_keys),
    ):
        before = count(engine, table)
        answers = at_once(50, partial(send, client, path, body))
        assert {a.status for a in answers} <= {200, 201, 409}
        done = [a for a in answers if a.status < 300]
        assert len({a.body for a in done}) == 1
        assert sum("idempotency-replayed" not in a.headers for a in done) == 1
        assert count(engine, table) == before + 1


CALL = """
import json, os, signal, sys
from pathlib import Path

import sqlalchemy as sa

from shared.db.engine import get_engine
from tests.architecture.test_routes import routers
from tests.fakes.lambda_client import LambdaClient

point, token, key = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

engine = get_engine()
if point == "before the record":
    @sa.event.listens_for(engine, "before_cursor_execute")
    def look(_c, _cursor, statement, *_):
        if statement.startswith("UPDATE idempotency_keys"):
            die()
elif point == "before the commit":
    sa.event.listen(engine, "commit", die)
elif point == "after the commit":
    @sa.event.listens_for(engine, "commit")
    def watch(_connection):
        sa.event.listen(engine, "checkin", die)

client = LambdaClient(Path("template.yaml"), token)
answer = client.post(
    "/api/keys", {"name": "once", "scopes": ["read"]}, headers={"idempotency-key": key}
)
print(answer.status, answer.headers.get("idempotency-replayed"), flush=True)
"""


@pytest.mark.parametrize(
    ("point", "is_replayed"),
    [("before the record", False), ("before the commit", False), ("after the commit", True)],
)
def test_a_killed_process_leaves_one_effect_after_the_retry(
    make_key: MakeKey, environment: dict[str, str], engine: sa.Engine, point: str, is_replayed: bool
) -> None:
    client = make_key("manage", "read")
    before = count(engine, api_keys)
    killed = subprocess.run(
        [sys.executable, "-c", CALL, point, str(client.token), KEY["idempotency-key"]],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert killed.stdout == b""
    retry = client.post("/api/keys", {"name": "once", "scopes": ["read"]}, headers=KEY)
    assert retry.status == 201
    assert ("idempotency-replayed" in retry.headers) is is_replayed
    assert count(engine, api_keys) == before + 1


# Public ones have no caller whose key it could be; the others write nothing.
WITHOUT_EFFECT = {
    "auth_login", "auth_refresh", "neural_simulate", "learning_evaluate", "learning_rebuild",
}  # fmt: skip


def test_every_post_that_changes_something_takes_the_key() -> None:
    def headers_of(dependant: Dependant) -> set[str]:
        inner = (headers_of(dependency) for dependency in dependant.dependencies)
        return {p.alias for p in dependant.header_params}.union(*inner)

    posts = {
        str(route.operation_id): "idempotency-key" in headers_of(route.dependant)
        for router in routers().values()
        for route in router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    }
    assert {name for name, takes_it in posts.items() if not takes_it} == WITHOUT_EFFECT


# ---------------------------------------------------------------- without one transaction


@pytest.fixture
def autocommit(environment: dict[str, str], clean_database: None, engine: sa.Engine) -> sa.Engine:
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def test_a_held_key_is_in_use_until_it_is_finished_or_abandoned(autocommit: sa.Engine) -> None:
    asked = ("key_1", "gateway_chat_completions", "k", idempotency.fingerprint_of(b"body"))
    with autocommit.connect() as connection:
        ticket = idempotency.begin(connection, *asked)
        assert isinstance(ticket, idempotency.Fresh)
        with pytest.raises(idempotency.KeyInUseError):
            idempotency.begin(connection, *asked)
        idempotency.abandon(connection, ticket)
        again = idempotency.begin(connection, *asked)
        assert isinstance(again, idempotency.Fresh)
        assert idempotency.finish(connection, again, 200, [("x-a", "b")], b"answer\nlines")
        idempotency.abandon(connection, again)  # too late: it is finished
        kept = idempotency.begin(connection, *asked)
        assert kept == idempotency.Replay(200, [("x-a", "b")], b"answer\nlines")
        with pytest.raises(DomainError) as caught:
            idempotency.begin(connection, *asked[:3], idempotency.fingerprint_of(b"other"))
        assert caught.value.status == 422


def test_a_dead_process_frees_its_key_in_time_and_cannot_answer_later(
    autocommit: sa.Engine,
) -> None:
    asked = ("key_1", "gateway_chat_completions", "k", idempotency.fingerprint_of(b"body"))
    with autocommit.connect() as connection:
        dead = idempotency.begin(connection, *asked, hold_s=0.0)
        alive = idempotency.begin(connection, *asked)
        assert isinstance(dead, idempotency.Fresh) and isinstance(alive, idempotency.Fresh)
        assert not idempotency.finish(connection, dead, 200, [], b"late")
        idempotency.abandon(connection, dead)
        assert idempotency.finish(connection, alive, 200, [], b"right")
        assert idempotency.begin(connection, *asked) == idempotency.Replay(200, [], b"right")


def test_records_are_kept_for_a_day_and_deleted_then(autocommit: sa.Engine) -> None:
    asked = ("key_1", "route", "k", idempotency.fingerprint_of(b"body"))
    now = sa.func.clock_timestamp()
    with autocommit.connect() as connection:
        ticket = idempotency.begin(connection, *asked)
        assert isinstance(ticket, idempotency.Fresh)
        idempotency.finish(connection, ticket, 201, [], b"")
        left = connection.scalar(sa.select(idempotency_keys.c.expires_at - now))
        assert left is not None and 86_300 < left.total_seconds() <= 86_400
        assert idempotency.delete_expired(connection) == 0
        connection.execute(sa.update(idempotency_keys).values(expires_at=now))
        assert idempotency.delete_expired(connection) == 1
        assert isinstance(idempotency.begin(connection, *asked), idempotency.Fresh)
