"""No key becomes more than it is, and nothing that has ended makes what would outlive it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.auth.access import ACCESS, SCOPES
from shared.kit.clock import utc_now
from tests.architecture.test_routes import app_routes
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.integration.conftest import ADMIN, process_with

MakeKey = Callable[..., LambdaClient]
LIMITS: tuple[dict[str, Any], ...] = (
    {"rpm": 60},
    {"tpm": 1_000},
    {"budget": {"usd": 5, "window": "month"}},
)


def create(client: LambdaClient, *scopes: str, **more: Any) -> Answer:
    return client.post("/api/keys", {"name": "made", "scopes": list(scopes), **more})


def id_of(client: LambdaClient) -> str:
    who: str = client.get("/api/auth/verify").json()["id"]
    return who


def is_beyond(answer: Answer) -> bool:
    return answer.status == 403 and answer.json()["type"].endswith("/key-beyond-own")


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "manage"])
def test_a_key_gives_no_scope_that_it_has_not(make_key: MakeKey, scope: str) -> None:
    manager = make_key("manage")
    assert is_beyond(create(manager, scope)) and is_beyond(create(manager, "manage", scope))
    assert create(manager, "manage").status == 201
    assert create(make_key("manage", scope), scope).status == 201


def test_a_person_who_manages_gives_any_scope(admin: LambdaClient) -> None:
    assert create(admin, *SCOPES).status == 201


def test_a_key_takes_over_no_other_that_may_more(make_key: MakeKey) -> None:
    strong, weak = make_key("manage", "chat"), make_key("manage")
    assert is_beyond(weak.post(f"/api/keys/{id_of(strong)}/rotate"))
    assert strong.get("/api/auth/verify").status == 200
    assert strong.post(f"/api/keys/{id_of(weak)}/rotate").status == 201


def test_a_key_gives_no_longer_life_than_its_own(make_key: MakeKey, engine: sa.Engine) -> None:
    end = utc_now() + timedelta(days=1)
    manager = make_key("manage", expires_at=end.isoformat())
    assert is_beyond(create(manager, "manage"))
    later = (end + timedelta(seconds=1)).isoformat()
    assert is_beyond(create(manager, "manage", expires_at=later))
    assert create(manager, "manage", expires_at=end.isoformat()).status == 201
    forever = make_key("manage")
    assert is_beyond(manager.post(f"/api/keys/{id_of(forever)}/rotate"))


@pytest.mark.parametrize("limits", LIMITS)
def test_a_limited_key_multiplies_nothing_but_may_renew_itself(
    make_key: MakeKey, limits: dict[str, Any]
) -> None:
    limited, other = make_key("manage", **limits), make_key("manage")
    assert is_beyond(create(limited, "manage", **limits))
    assert is_beyond(limited.post(f"/api/keys/{id_of(other)}/rotate"))
    renewed = limited.post(f"/api/keys/{id_of(limited)}/rotate").json()
    assert renewed["id"] == id_of(limited)
    assert {name: renewed[name] for name in limits} == limits


def test_a_revoked_key_makes_nothing_although_it_is_still_cached(
    admin: LambdaClient, make_key: MakeKey, engine: sa.Engine
) -> None:
    with process_with({"DAVINCI_CREDENTIAL_TTL_S": "30"}):
        manager = make_key("manage")
        assert manager.get("/api/keys").status == 200
        _behind_our_back(engine, "UPDATE api_keys SET revoked_at = clock_timestamp()")
        assert manager.get("/api/keys").status == 200, "this process has not heard of it"
        assert create(manager, "manage").status == 401
        assert manager.post(f"/api/keys/key_{'0' * 32}/rotate").status == 401


def test_an_ended_session_makes_nothing_although_it_is_not_yet_known(
    admin: LambdaClient, engine: sa.Engine
) -> None:
    with process_with({"DAVINCI_CREDENTIAL_TTL_S": "30"}):
        assert admin.get("/api/keys").status == 200
        _behind_our_back(engine, "UPDATE refresh_tokens SET revoked_at = clock_timestamp()")
        assert admin.get("/api/keys").status == 200, "this process has not heard of it"
        user = {"email": "late@x.y", "password": "another long password", "role": "admin"}
        change = {"current_password": ADMIN[1], "new_password": "another long password"}
        nobody = f"/api/users/usr_{'0' * 32}"
        late = [
            create(admin, "manage"),
            admin.post("/api/users", user),
            admin.patch(nobody, {"role": "admin"}, headers={"if-match": "*"}),
            admin.delete(nobody),
            admin.post("/api/users/me/password", change),
        ]
        assert [answer.status for answer in late] == [401] * len(late)


def test_whatever_makes_or_changes_credentials_looks_them_up_anew() -> None:
    makes = {
        operation
        for route, (_, operation) in app_routes().items()
        if route.startswith(("POST ", "PATCH ", "DELETE /api/users"))
        and ("/api/users" in route or "/api/keys" in route)
    }
    assert makes and {name for name, access in ACCESS.items() if access.fresh} == makes


def _behind_our_back(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_an_expiry_is_compared_as_an_instant_not_as_text(make_key: MakeKey) -> None:
    manager = make_key("manage", expires_at="2099-06-01T12:00:00Z")
    assert create(manager, "manage", expires_at="2099-06-01T13:00:00+02:00").status == 201
    assert is_beyond(create(manager, "manage", expires_at="2099-06-01T11:30:00-01:00"))
