"""Refresh token families: one rotation, the same successor within the grace, reuse ends all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from shared.db.tables import refresh_tokens
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN, process_with


def refresh(api: LambdaClient, token: str) -> Answer:
    return api.post("/api/auth/refresh", {"refresh_token": token})


@pytest.fixture
def anonymous(admin: LambdaClient) -> LambdaClient:
    return admin.with_token(None)


@pytest.fixture
def token(anonymous: LambdaClient) -> str:
    return log_in(anonymous)


def log_in(anonymous: LambdaClient) -> str:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    token: str = anonymous.post("/api/auth/login", body).json()["refresh_token"]
    return token


def let_pass(engine: sa.Engine, seconds: float) -> None:
    """Let what was spent be spent so long ago."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE refresh_tokens SET spent_at = spent_at - make_interval(secs => :s)"),
            {"s": seconds},
        )


def issued(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(refresh_tokens)) or 0


@pytest.fixture
def strict(environment: dict[str, str]) -> Iterator[None]:
    with process_with({"DAVINCI_REFRESH_GRACE_S": "0", "DAVINCI_DATABASE_CONNECTIONS": "16"}):
        yield


@pytest.mark.usefixtures("many_connections")
def test_a3_50_refreshes_at_once_are_one_rotation_with_one_successor(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    before = issued(engine)
    answers = at_once(50, lambda _: refresh(anonymous, token))
    assert {a.status for a in answers} == {200}, {a.body for a in answers}
    assert len({a.json()["refresh_token"] for a in answers}) == 1
    assert issued(engine) == before + 1
    who = anonymous.with_token(answers[-1].json()["access_token"]).get("/api/auth/verify")
    assert who.status == 200


@pytest.mark.usefixtures("strict")
def test_a3_without_grace_of_50_refreshes_at_once_exactly_one_succeeds(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    before = issued(engine)
    statuses = [a.status for a in at_once(50, lambda _: refresh(anonymous, token))]
    assert (statuses.count(200), statuses.count(401)) == (1, 49), statuses
    assert issued(engine) == before + 1


def test_a3_a_lost_answer_is_given_again_within_ten_seconds(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    lost = refresh(anonymous, token).json()["refresh_token"]
    let_pass(engine, 9)
    again = refresh(anonymous, token)
    assert again.status == 200 and again.json()["refresh_token"] == lost
    assert refresh(anonymous, lost).status == 200


def test_a3_reuse_after_the_grace_ends_the_whole_family_and_no_other(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    second = refresh(anonymous, token).json()
    other_session = log_in(anonymous)
    let_pass(engine, 10.1)
    assert refresh(anonymous, token).status == 401
    assert refresh(anonymous, second["refresh_token"]).status == 401
    assert anonymous.with_token(second["access_token"]).get("/api/auth/verify").status == 401
    assert refresh(anonymous, other_session).status == 200


def test_a3_after_logout_the_grace_gives_nothing(anonymous: LambdaClient, token: str) -> None:
    second = refresh(anonymous, token).json()
    anonymous.with_token(second["access_token"]).post("/api/auth/logout")
    assert refresh(anonymous, token).status == 401


def test_a3_an_old_token_does_not_lead_to_its_successors_for_ever(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    second = refresh(anonymous, token).json()["refresh_token"]
    let_pass(engine, 10.1)
    refresh(anonymous, second)
    with engine.connect() as connection:
        salts = connection.scalars(
            sa.select(refresh_tokens.c.successor_salt).where(refresh_tokens.c.spent_at.is_not(None))
        ).all()
    assert len(salts) == 2 and salts.count(None) == 1


def test_a3_the_grace_does_not_move_the_end_of_the_family(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    for _ in range(2):
        refresh(anonymous, token)
    with engine.connect() as connection:
        ends = connection.execute(
            sa.select(sa.func.count(sa.distinct(refresh_tokens.c.expires_at))).group_by(
                refresh_tokens.c.family_id
            )
        ).scalars()
        assert set(ends) == {1}


def test_a3_an_expired_family_gives_nothing_within_the_grace(
    anonymous: LambdaClient, token: str, engine: sa.Engine
) -> None:
    refresh(anonymous, token)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE refresh_tokens SET expires_at = now() - interval '1s'"))
    assert refresh(anonymous, token).status == 401


def test_a3_successors_have_256_bits_and_do_not_repeat(anonymous: LambdaClient) -> None:
    seen = set()
    token = log_in(anonymous)
    for _ in range(20):
        token = refresh(anonymous, token).json()["refresh_token"]
        assert len(token) == 43
        seen.add(token)
    assert len(seen) == 20


def test_a4_logout_ends_refresh_and_access_of_this_session_only(
    anonymous: LambdaClient, token: str
) -> None:
    session = refresh(anonymous, token).json()
    other = log_in(anonymous)
    client = anonymous.with_token(session["access_token"])
    assert client.post("/api/auth/logout").status == 204
    assert refresh(anonymous, session["refresh_token"]).status == 401
    assert client.get("/api/auth/verify").status == 401
    assert refresh(anonymous, other).status == 200
