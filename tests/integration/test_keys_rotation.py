"""API keys in use: limits, usage, rotation with overlap, and no secret anywhere."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.auth.api_keys import hash_key
from shared.auth.store import find_api_key, touch_api_key
from shared.db.tables import api_keys, decisions, metadata, outcomes
from shared.kit.clock import utc_now
from shared.kit.ids import parse, uuid7
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.secret_scanner import find_keys
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN

LIMITS = {"rpm": 60, "tpm": 90_000, "budget": {"usd": 12.5, "window": "month"}}


@pytest.fixture
def key(admin: LambdaClient) -> dict[str, Any]:
    body = {"name": "shop", "scopes": ["read", "chat"], "labels": {"team": "web"}, **LIMITS}
    created = admin.post("/api/keys", body)
    assert created.status == 201, created.body
    made: dict[str, Any] = created.json()
    return made


def works(admin: LambdaClient, secret: str) -> bool:
    return admin.with_token(secret).get("/api/auth/verify").status == 200


def rotate(admin: LambdaClient, key: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = admin.post(f"/api/keys/{key['id']}/rotate", body or None)
    assert answer.status == 201, answer.body
    rotated: dict[str, Any] = answer.json()
    return rotated


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Collect what the functions' logger writes at its most talkative, as it is formatted."""
    from shared.observability.logging import get_logger

    logger, text = logging.getLogger("davinci"), io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(get_logger().registered_formatter)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def let_pass(engine: sa.Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.update(api_keys).values(
                previous_valid_until=api_keys.c.previous_valid_until - timedelta(seconds=seconds)
            )
        )


def test_a_key_carries_its_limits_to_where_callers_are_identified(
    key: dict[str, Any], engine: sa.Engine
) -> None:
    assert {name: key[name] for name in LIMITS} == LIMITS
    with engine.connect() as connection:
        row = find_api_key(connection, hash_key(key["secret"]))
    assert row is not None
    assert (row.rpm, row.tpm, row.budget_usd, row.budget_window) == (60, 90_000, 12.5, "month")
    assert isinstance(row.budget_usd, float)


def test_a_key_without_limits_has_none(admin: LambdaClient) -> None:
    made = admin.post("/api/keys", {"name": "x", "scopes": ["read"]}).json()
    assert (made["rpm"], made["tpm"], made["budget"]) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"rpm": 0}, "#/rpm"),
        ({"rpm": 1.5}, "#/rpm"),
        ({"tpm": -1}, "#/tpm"),
        ({"tpm": 10**12}, "#/tpm"),
        ({"budget": {"usd": 0, "window": "day"}}, "#/budget/usd"),
        ({"budget": {"usd": 1}}, "#/budget/window"),
        ({"budget": {"usd": 1, "window": "week"}}, "#/budget/window"),
        ({"budget": {"window": "day"}}, "#/budget/usd"),
        ({"name": "a\x00b"}, "#/name"),
        ({"expires_at": 1_800_000_000}, "#/expires_at"),
    ],
)
def test_bad_limits_are_refused_with_the_place(
    admin: LambdaClient, body: dict[str, Any], pointer: str
) -> None:
    refused = admin.post("/api/keys", {"name": "x", "scopes": ["read"], **body})
    assert refused.status == 422, refused.body
    assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]


def test_a8_rotation_keeps_everything_but_the_secret(
    admin: LambdaClient, key: dict[str, Any]
) -> None:
    rotated = rotate(admin, key)
    changes = {"secret", "prefix", "rotated_at", "previous_valid_until", "last_used_at"}
    assert {k: v for k, v in rotated.items() if k not in changes} == {
        k: v for k, v in key.items() if k not in changes
    }
    assert rotated["secret"] != key["secret"] and rotated["secret"].startswith(rotated["prefix"])
    (listed,) = admin.get("/api/keys").json()["items"]
    assert listed == {k: v for k, v in rotated.items() if k != "secret"}


def test_a8_both_secrets_work_during_the_overlap_then_only_the_new_one(
    admin: LambdaClient, key: dict[str, Any], engine: sa.Engine
) -> None:
    new = rotate(admin, key)["secret"]
    let_pass(engine, 86_390)
    assert works(admin, key["secret"]) and works(admin, new)
    ids = [admin.with_token(s).get("/api/auth/verify").json()["id"] for s in (key["secret"], new)]
    assert ids == [key["id"]] * 2
    let_pass(engine, 11)
    assert not works(admin, key["secret"]) and works(admin, new)


def test_a8_without_overlap_the_old_secret_ends_at_once(
    admin: LambdaClient, key: dict[str, Any]
) -> None:
    new = rotate(admin, key, overlap_s=0)
    assert not works(admin, key["secret"]) and works(admin, new["secret"])
    assert new["previous_valid_until"] is None


def test_a8_a_second_rotation_does_not_end_a_secret_that_is_promised(
    admin: LambdaClient, key: dict[str, Any], engine: sa.Engine
) -> None:
    second = rotate(admin, key, overlap_s=100)["secret"]
    refused = admin.post(f"/api/keys/{key['id']}/rotate", {"overlap_s": 100})
    assert refused.status == 409
    assert refused.json()["type"].endswith("/rotation-unfinished")
    assert works(admin, key["secret"]) and works(admin, second)
    let_pass(engine, 101)
    third = rotate(admin, key, overlap_s=100)["secret"]
    assert [works(admin, s) for s in (key["secret"], second, third)] == [False, True, True]
    fourth = rotate(admin, key, overlap_s=0)["secret"]  # a leak: everything before ends
    assert [works(admin, s) for s in (second, third, fourth)] == [False, False, True]


def test_a8_revoking_ends_both_secrets(admin: LambdaClient, key: dict[str, Any]) -> None:
    new = rotate(admin, key)["secret"]
    assert admin.delete(f"/api/keys/{key['id']}").status == 204
    assert not works(admin, key["secret"]) and not works(admin, new)
    refused = admin.post(f"/api/keys/{key['id']}/rotate")
    assert (refused.status, refused.json()["type"].rpartition("/")[2]) == (409, "key-over")


def test_a8_an_expired_key_is_not_rotated(
    admin: LambdaClient, key: dict[str, Any], engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(api_keys).values(expires_at=utc_now() - timedelta(seconds=5)))
    assert admin.post(f"/api/keys/{key['id']}/rotate").status == 409


@pytest.mark.parametrize("overlap_s", [-1, 604_801, 1.5, "x", None])
def test_a_bad_overlap_is_refused(admin: LambdaClient, key: dict[str, Any], overlap_s: Any) -> None:
    assert admin.post(f"/api/keys/{key['id']}/rotate", {"overlap_s": overlap_s}).status == 422


@pytest.mark.parametrize("key_id", ["key_" + "0" * 32, "key_x", "usr_" + "0" * 32])
def test_rotating_what_is_not_there_is_404(admin: LambdaClient, key_id: str) -> None:
    assert admin.post(f"/api/keys/{key_id}/rotate").status == 404


@pytest.mark.usefixtures("many_connections")
def test_a8_of_several_rotations_at_once_one_happens(
    admin: LambdaClient, key: dict[str, Any]
) -> None:
    answers = at_once(6, lambda _: admin.post(f"/api/keys/{key['id']}/rotate"))
    assert sorted(a.status for a in answers) == [201] + [409] * 5
    (new,) = [a.json()["secret"] for a in answers if a.status == 201]
    assert works(admin, new) and works(admin, key["secret"])


def test_a8_use_is_noted_at_most_once_a_minute(key: dict[str, Any], engine: sa.Engine) -> None:
    key_id = parse("key", key["id"])

    def touch() -> Any:
        with engine.begin() as connection:
            touch_api_key(connection, key_id)
            return connection.scalar(sa.select(api_keys.c.last_used_at))

    first = touch()
    assert first is not None and touch() == first
    with engine.begin() as connection:
        connection.execute(sa.update(api_keys).values(last_used_at=first - timedelta(seconds=61)))
    assert touch() > first - timedelta(seconds=61)


def test_a8_a_request_notes_its_key(admin: LambdaClient, key: dict[str, Any]) -> None:
    assert admin.get("/api/keys").json()["items"][0]["last_used_at"] is None
    assert works(admin, key["secret"])
    assert admin.get("/api/keys").json()["items"][0]["last_used_at"] is not None


def test_usage_counts_thirty_days_of_the_keys_own_decisions(
    admin: LambdaClient, registry: list[str], engine: sa.Engine
) -> None:
    keys = [
        admin.post("/api/keys", {"name": f"k{n}", "scopes": ["route", "chat"]}).json()
        for n in range(3)
    ]
    for secret, n in ((keys[0]["secret"], 2), (keys[1]["secret"], 1)):
        for _ in range(n):
            made = admin.with_token(secret).post("/api/neural/route", {"prompt": "hello"})
            assert made.status == 200, made.body
    with engine.begin() as connection:
        ours = decisions.c.caller == keys[0]["id"]
        ids = list(connection.scalars(sa.select(decisions.c.id).where(ours)))
        for decision_id, cost_usd in zip(ids, (0.25, None), strict=True):
            connection.execute(
                sa.insert(outcomes).values(
                    decision_id=decision_id, created_at=utc_now(), status="success",
                    model="test/small", latency_ms=1.0, tokens_in=10, tokens_out=5,
                    cost_usd=cost_usd, attempts=[],
                )
            )  # fmt: skip
    listed = {k["name"]: k["usage"] for k in admin.get("/api/keys").json()["items"]}
    assert listed == {
        "k0": {"requests": 2, "tokens": 30, "cost_usd": 0.25},
        "k1": {"requests": 1, "tokens": 0, "cost_usd": 0.0},
        "k2": {"requests": 0, "tokens": 0, "cost_usd": 0.0},
    }


def test_changes_of_keys_are_audited(admin: LambdaClient, key: dict[str, Any]) -> None:
    rotated = rotate(admin, key)
    admin.delete(f"/api/keys/{key['id']}")
    admin.delete(f"/api/keys/{key['id']}")
    entries = admin.get("/api/audit", {"resource": key["id"]}).json()["items"]
    assert [e["action"] for e in entries] == ["key.revoked", "key.rotated", "key.created"]
    assert entries[1]["before"] == {"prefix": key["prefix"]}
    assert entries[1]["after"] == {"prefix": rotated["prefix"], "overlap_s": 86_400}
    assert entries[2]["after"]["budget"] == LIMITS["budget"]


def test_a8_no_secret_lies_in_the_database_or_in_a_log(
    admin: LambdaClient, engine: sa.Engine
) -> None:
    secrets: list[str] = [ADMIN[1]]
    with everything_logged() as log:
        for n in range(5):
            made = admin.post(
                "/api/keys", {"name": f"k{n}", "scopes": ["read"]},
                headers={"idempotency-key": f"k{n}"},
            )  # fmt: skip
            rotated = rotate(admin, made.json(), overlap_s=60 * n)
            secrets += [made.json()["secret"], rotated["secret"]]
            works(admin, rotated["secret"])
            password = f"password of user {n} {uuid7()}"
            admin.post("/api/users", {"email": f"u{n}@x.y", "password": password, "role": "viewer"})
            body = {"email": f"u{n}@x.y", "password": password}
            headers = {"x-davinci-client": "browser"}
            browser = admin.with_token(None).post("/api/auth/login", body, headers=headers)
            secrets += [password, *(c.partition(";")[0].split("=", 1)[1] for c in browser.cookies)]
            session = admin.with_token(None).post("/api/auth/login", body).json()
            second = admin.with_token(None).post(
                "/api/auth/refresh", {"refresh_token": session["refresh_token"]}
            )
            admin.with_token(None).post("/api/auth/login", {**body, "password": password + "x"})
            for tokens in (session, second.json()):
                secrets += [tokens["refresh_token"], tokens["access_token"]]
    with engine.connect() as connection:
        dump = "\n".join(
            row
            for table in metadata.sorted_tables
            for row in connection.scalars(sa.text(f"SELECT t::text FROM {table.name} t"))  # noqa: S608
        )
    assert len(secrets) == 46 and len(dump) > 10_000 and '"status":' in log.getvalue()
    for place in (dump, log.getvalue()):
        assert not list(find_keys(place))
        for secret in secrets:
            spelt = (secret, secret.encode().hex(), json.dumps(secret)[1:-1])
            assert not any(spelling in place for spelling in spelt), secret
