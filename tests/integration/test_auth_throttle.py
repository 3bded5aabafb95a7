"""Guessing passwords is slow, by account; its owner still gets in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import argon2
import pytest
import sqlalchemy as sa

from shared.db.tables import audit_log, login_throttle
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN

NOBODY = "nobody@davinci.local"
WRONG = "wrong"
DEVICE = "__Host-davinci-device"


@pytest.fixture
def anonymous(admin: LambdaClient) -> LambdaClient:
    return admin.with_token(None)


def log_in(
    api: LambdaClient, password: str = WRONG, email: str = ADMIN[0], cookies: Any = ()
) -> Answer:
    # From everywhere: limits by address are another matter.
    log_in.calls += 1  # type: ignore[attr-defined]
    n: int = log_in.calls  # type: ignore[attr-defined]
    somewhere = replace(api, source_ip=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}")
    body = {"email": email, "password": password}
    return somewhere.post("/api/auth/login", body, cookies=cookies)


log_in.calls = 0  # type: ignore[attr-defined]


def let_pass(engine: sa.Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE login_throttle SET attempted_at = attempted_at - make_interval(secs => :s),"
                " blocked_until = blocked_until - make_interval(secs => :s)"
            ),
            {"s": seconds},
        )


def device_of(answer: Answer) -> str:
    (cookie,) = (c for c in answer.cookies if c.startswith(DEVICE))
    return cookie.partition(";")[0]


@contextmanager
def hashes_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Count what argon2 really verifies."""
    seen: list[str] = []
    verify = argon2.PasswordHasher.verify

    def counted(self: Any, stored: str, password: str) -> bool:
        seen.append(stored)
        return verify(self, stored, password)

    with monkeypatch.context() as patch:
        patch.setattr(argon2.PasswordHasher, "verify", counted)
        yield seen


def test_a7_of_1000_guesses_an_hour_at_most_100_are_looked_at(
    anonymous: LambdaClient, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []
    with hashes_counted(monkeypatch) as hashed:
        for n in range(1_000):
            statuses.append(log_in(anonymous, f"guess {n}").status)
            let_pass(engine, 3.6)
    assert set(statuses) == {401, 429}
    assert len(hashed) == statuses.count(401) <= 100
    assert len(hashed) >= 10  # the owner is not locked out by a few


def test_a7_waits_double_from_a_second_to_a_quarter_of_an_hour(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    waits = []
    for _ in range(17):
        while (answer := log_in(anonymous)).status == 429:
            waits.append(int(answer.headers["retry-after"]))
            let_pass(engine, waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_a7_the_refusal_is_a_problem_that_says_how_long(anonymous: LambdaClient) -> None:
    answer = [log_in(anonymous) for _ in range(5)][-1]
    assert answer.status == 429 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/too-many-attempts")
    assert int(answer.headers["retry-after"]) == 1


def test_a7_the_right_password_does_not_shorten_the_wait(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    for _ in range(4):
        log_in(anonymous)
    assert log_in(anonymous, ADMIN[1]).status == 429
    let_pass(engine, 1)
    assert log_in(anonymous, ADMIN[1]).status == 200
    with engine.connect() as connection:
        assert connection.execute(sa.select(login_throttle)).all() == []


@pytest.mark.usefixtures("many_connections")
def test_a7_guessing_in_parallel_gains_nothing(anonymous: LambdaClient) -> None:
    statuses = [a.status for a in at_once(30, lambda n: log_in(anonymous, f"guess {n}"))]
    assert statuses.count(401) == 4 and statuses.count(429) == 26, statuses


def test_a7_who_read_the_clock_first_and_comes_last_does_not_wait(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    assert log_in(anonymous).status == 401
    let_pass(engine, -0.5)  # the other attempt's clock was read after ours
    assert log_in(anonymous, ADMIN[1]).status == 200


def test_a7_an_unknown_account_takes_the_same_steps_and_answers_the_same(
    anonymous: LambdaClient, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.db.engine import get_engine

    def steps(email: str) -> list[Any]:
        taken: list[Any] = []

        def record(*arguments: Any) -> None:
            taken.append(arguments[2])

        sa.event.listen(get_engine(), "before_cursor_execute", record)
        try:
            with hashes_counted(monkeypatch) as hashed:
                for _ in range(11):
                    answer = log_in(anonymous, email=email)
                    taken += [answer.status, answer.body, answer.headers.get("retry-after")]
                    taken.append([stored.rpartition("$")[0][:30] for stored in hashed])
                    if answer.status == 401:
                        let_pass(engine, 600)
        finally:
            sa.event.remove(get_engine(), "before_cursor_execute", record)
        return taken

    assert steps(ADMIN[0]) == steps(NOBODY)


def test_a7_a_browser_that_logged_in_before_is_not_locked_out_by_strangers(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    cookie = device_of(log_in(anonymous, ADMIN[1]))
    for _ in range(12):
        let_pass(engine, 1_000)
        log_in(anonymous)
    assert log_in(anonymous, ADMIN[1]).status == 429
    known = log_in(anonymous, ADMIN[1], cookies=(cookie,))
    assert known.status == 200 and device_of(known) != cookie
    assert log_in(anonymous, ADMIN[1]).status == 429  # strangers still wait


def test_a7_a_device_has_a_counter_of_its_own(anonymous: LambdaClient) -> None:
    cookie = device_of(log_in(anonymous, ADMIN[1]))
    statuses = [log_in(anonymous, cookies=(cookie,)).status for _ in range(6)]
    assert statuses == [401] * 4 + [429] * 2
    assert log_in(anonymous, ADMIN[1]).status == 200


FORGED: dict[str, Callable[[str], str]] = {
    "of another account": lambda c: c,
    "altered": lambda c: c[:-1] + ("A" if c[-1] != "A" else "B"),
    "made up": lambda c: f"{DEVICE}=x.1.y",
    "empty": lambda c: f"{DEVICE}=",
    "no number": lambda c: f"{DEVICE}=x.².y",
    "huge": lambda c: f"{DEVICE}=" + "9" * 4_000,
    "dated ahead": lambda c: c.replace(".", ".9", 1),
}


@pytest.mark.parametrize("name", FORGED)
def test_a7_a_cookie_that_we_did_not_give_for_this_account_is_no_device(
    admin: LambdaClient, anonymous: LambdaClient, name: str
) -> None:
    other = {"email": "other@davinci.local", "password": "another long password"}
    assert admin.post("/api/users", {**other, "role": "viewer"}).status == 201
    cookie = FORGED[name](device_of(log_in(anonymous, other["password"], other["email"])))
    for _ in range(4):
        assert log_in(anonymous).status == 401
    assert log_in(anonymous, ADMIN[1], cookies=(cookie,)).status == 429


def test_a7_a_device_is_forgotten_after_half_a_year(anonymous: LambdaClient) -> None:
    from datetime import timedelta

    from functions.auth.throttle import DEVICE_TTL_S, login_subject, new_device_cookie
    from shared.config import get_settings
    from shared.kit.clock import utc_now

    settings, now = get_settings(), utc_now()
    cookie = new_device_cookie(settings, ADMIN[0], now)
    stranger = login_subject(settings, ADMIN[0], None, now)
    almost = now + timedelta(seconds=DEVICE_TTL_S - 1)
    assert login_subject(settings, ADMIN[0], cookie, almost) != stranger
    after = now + timedelta(seconds=DEVICE_TTL_S + 1)
    assert login_subject(settings, ADMIN[0], cookie, after) == stranger


def test_a7_an_administrator_unlocks_an_account(
    admin: LambdaClient, anonymous: LambdaClient
) -> None:
    other = {"email": "other@davinci.local", "password": "another long password"}
    user = admin.post("/api/users", {**other, "role": "viewer"}).json()
    for _ in range(5):
        log_in(anonymous, email=other["email"])
    assert log_in(anonymous, other["password"], other["email"]).status == 429
    done = admin.patch(f"/api/users/{user['id']}", {"unlock": True}, headers={"if-match": '"1"'})
    assert done.status == 200, done.body
    assert log_in(anonymous, other["password"], other["email"]).status == 200


def test_a7_a_day_of_peace_forgets_wrong_passwords(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    for _ in range(9):
        log_in(anonymous)
        let_pass(engine, 900)
    let_pass(engine, 86_400)
    assert [log_in(anonymous).status for _ in range(5)] == [401] * 4 + [429]


@pytest.mark.parametrize("email", [ADMIN[0], NOBODY])
def test_a7_a_lock_out_is_one_audit_entry(
    anonymous: LambdaClient, engine: sa.Engine, email: str
) -> None:
    for _ in range(15):
        log_in(anonymous, email=email)
        let_pass(engine, 900)
    with engine.connect() as connection:
        entries = connection.execute(
            sa.select(audit_log).where(audit_log.c.action == "login.locked")
        ).all()
    (entry,) = entries
    assert entry.actor_kind == "anonymous" and email not in str(entry)
    assert entry.resource.startswith("usr_" if email == ADMIN[0] else "login:")


def test_a7_what_people_type_as_email_is_not_stored(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    log_in(anonymous, email="oops-my-password@x")
    with engine.connect() as connection:
        rows = connection.scalars(sa.text("SELECT t::text FROM login_throttle t")).all()
    assert len(rows) == 1 and "6f6f70732d6d79" not in rows[0]


def test_a7_login_fails_closed_without_its_counter(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE login_throttle RENAME TO login_throttle_away"))
    try:
        assert log_in(anonymous, ADMIN[1]).status >= 500
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE login_throttle_away RENAME TO login_throttle"))
    assert log_in(anonymous, ADMIN[1]).status == 200


def test_a7_old_counters_are_cleared_away_by_logins(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    for n in range(5):
        log_in(anonymous, email=f"sprayed{n}@x.y")
    let_pass(engine, 86_401)
    assert log_in(anonymous, ADMIN[1]).status == 200
    with engine.connect() as connection:
        assert connection.execute(sa.select(login_throttle)).all() == []


@pytest.mark.parametrize("parameters", ["m=8192,t=1", "m=19456,t=1"])
def test_a6_a_weaker_hash_is_renewed_at_login(
    anonymous: LambdaClient, engine: sa.Engine, parameters: str
) -> None:
    memory, time = (int(part[2:]) for part in parameters.split(","))
    weak = argon2.PasswordHasher(time_cost=time, memory_cost=memory, parallelism=1).hash(ADMIN[1])
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET password_hash = :h"), {"h": weak})
    assert log_in(anonymous, ADMIN[1]).status == 200
    with engine.connect() as connection:
        renewed = connection.scalar(sa.text("SELECT password_hash FROM users"))
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert log_in(anonymous, ADMIN[1]).status == 200
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT password_hash FROM users")) == renewed
