"""The audit log: complete, serial, and no entry can be changed unnoticed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from shared.audit import SYSTEM, Actor, record
from shared.audit.chain import GENESIS, hash_of
from shared.audit.reader import Anchor, verify_chain
from shared.db.tables import audit_head, audit_log
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN
from tests.integration.test_registry import DOCUMENT, MODEL

LENGTH = 12


@contextmanager
def without_trigger(engine: sa.Engine) -> Iterator[sa.Connection]:
    """What somebody can do who owns the table."""
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only"))
        yield connection
        connection.execute(sa.text("ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only"))


def verify(engine: sa.Engine, anchor: Anchor | None = None) -> Any:
    with engine.connect() as connection:
        return verify_chain(connection, anchor)


@pytest.fixture
def chain(clean_database: None, engine: sa.Engine) -> list[dict[str, Any]]:
    """A chain of a few entries of every shape."""
    with engine.begin() as connection:
        for n in range(LENGTH):
            after = None if n % 3 == 0 else {"n": n, "price": 1e22 / (n + 1), "é": "\x00 🎈"}
            before = {"labels": {"b": 1, "a": [None, True]}} if n % 2 else None
            actor = Actor(f"usr_{n}", "Ada") if n % 2 else SYSTEM
            record(connection, actor, "thing.changed", f"thing_{n}", before, after, f"r{n}")
        return [dict(row) for row in connection.execute(sa.select(audit_log)).mappings()]


def store(engine: sa.Engine, entries: list[dict[str, Any]]) -> None:
    with without_trigger(engine) as connection:
        connection.execute(sa.delete(audit_log))
        if entries:
            connection.execute(sa.insert(audit_log), entries)


def test_a_whole_chain_verifies(engine: sa.Engine, chain: list[dict[str, Any]]) -> None:
    found = verify(engine)
    assert (found.first_broken_seq, found.entries, found.head_seq) == (None, LENGTH, LENGTH)
    assert [entry["seq"] for entry in chain] == list(range(1, LENGTH + 1))
    assert chain[0]["prev_hash"] == GENESIS and found.head_hash == chain[-1]["hash"]


def test_an_empty_log_verifies(clean_database: None, engine: sa.Engine) -> None:
    found = verify(engine)
    assert (found.first_broken_seq, found.entries, found.head_hash) == (None, 0, GENESIS)


def test_the_database_refuses_update_and_delete(
    engine: sa.Engine, chain: list[dict[str, Any]]
) -> None:
    for statement in ("UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log WHERE seq = 3"):
        with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(sa.text(statement))
    assert verify(engine).first_broken_seq is None


_TEXTS = ["actor_id", "actor_kind", "actor_name", "action", "resource", "before", "after",
          "request_id"]  # fmt: skip
_MUTATIONS = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, LENGTH - 1), st.sampled_from(_TEXTS)),
    st.tuples(
        st.just("edit"), st.integers(0, LENGTH - 1), st.sampled_from(["at", "hash", "prev_hash"])
    ),
    st.tuples(st.just("delete"), st.integers(0, LENGTH - 1), st.just("")),
    st.tuples(st.just("cut"), st.integers(0, LENGTH - 1), st.just("")),
    st.tuples(st.just("swap"), st.integers(0, LENGTH - 2), st.just("")),
    st.tuples(st.just("insert"), st.integers(0, LENGTH), st.sampled_from(["plain", "linked"])),
    st.tuples(st.just("rewrite"), st.integers(0, LENGTH - 1), st.just("")),
)


def mutate(
    chain: list[dict[str, Any]], kind: str, at: int, detail: str, text: str
) -> tuple[list[dict[str, Any]], int]:
    """Return the tampered chain and the first number that cannot hold."""
    entries = copy.deepcopy(chain)
    if kind == "edit":
        was = entries[at][detail]
        if detail == "at":
            entries[at][detail] += timedelta(microseconds=1)
        elif isinstance(was, bytes):
            entries[at][detail] = bytes([was[0] ^ 1]) + was[1:]
        else:
            entries[at][detail] = text if text != was else text + "x"
    elif kind == "delete":
        del entries[at]
    elif kind == "cut":
        del entries[at:]
    elif kind == "swap":
        entries[at]["seq"], entries[at + 1]["seq"] = entries[at + 1]["seq"], entries[at]["seq"]
    elif kind == "insert":
        before = entries[at - 1]["hash"] if at else GENESIS
        new = {**chain[0], "action": "forged", "prev_hash": before, "seq": at + 1}
        new["hash"] = hash_of(new) if detail == "linked" else chain[0]["hash"]
        for later in entries[at:]:
            later["seq"] += 1
        entries.insert(at, new)
    else:  # a new hash over changed content, as somebody does who knows how
        entries[at]["action"] = "forged"
        entries[at]["hash"] = hash_of(entries[at])
    # A rewritten or linked entry is sound in itself: the one that follows gives it away, or the
    # head.
    gives_away = at + 2 if kind == "rewrite" or (kind, detail) == ("insert", "linked") else at + 1
    return entries, min(gives_away, LENGTH + 1 if kind == "insert" else LENGTH)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutation=_MUTATIONS, text=st.text('ab{}:",1 é', min_size=1, max_size=8))
def test_any_single_mutation_is_found_where_it_is(
    engine: sa.Engine, chain: list[dict[str, Any]], mutation: tuple[str, int, str], text: str
) -> None:
    entries, first = mutate(chain, *mutation, text)
    store(engine, entries)
    found = verify(engine)
    assert found.first_broken_seq == first, (mutation, found)
    assert found.reason
    store(engine, chain)
    assert verify(engine).first_broken_seq is None


@pytest.mark.parametrize("seq", [-1, 0, LENGTH + 1, 2**40])
def test_numbers_that_none_can_have_are_found(
    engine: sa.Engine, chain: list[dict[str, Any]], seq: int
) -> None:
    new = {**chain[0], "seq": seq}
    new["hash"] = hash_of(new)
    store(engine, [*chain, new])
    assert verify(engine).first_broken_seq == (seq if seq < 1 else LENGTH + 1)


@pytest.mark.parametrize("change", ["seq = seq - 1", "seq = seq + 1", "hash = '\\x00'"])
def test_a_changed_head_is_found(
    engine: sa.Engine, chain: list[dict[str, Any]], change: str
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE audit_head SET {change}"))  # noqa: S608
    assert verify(engine).first_broken_seq is not None


def test_a_lost_head_is_found_and_nothing_can_be_appended(
    engine: sa.Engine, chain: list[dict[str, Any]]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(audit_head))
    assert verify(engine).first_broken_seq == 1
    with engine.connect() as connection, pytest.raises(DBAPIError):
        record(connection, SYSTEM, "x", "y")


def test_a_history_rewritten_as_a_whole_is_found_by_an_anchor(
    engine: sa.Engine, chain: list[dict[str, Any]]
) -> None:
    noted = Anchor(LENGTH, chain[-1]["hash"])
    assert verify(engine, noted).anchor_found is True
    forged, prev_hash = copy.deepcopy(chain), GENESIS
    forged[3]["actor_name"] = "somebody else"
    for entry in forged:
        entry["prev_hash"] = prev_hash
        prev_hash = entry["hash"] = hash_of(entry)
    store(engine, forged)
    with engine.begin() as connection:
        connection.execute(sa.update(audit_head).values(hash=prev_hash))
    assert verify(engine).first_broken_seq is None  # alone, the chain cannot know
    found = verify(engine, noted)
    assert (found.first_broken_seq, found.anchor_found) == (LENGTH, False)


def test_a_tail_cut_with_the_head_is_found_by_an_anchor(
    engine: sa.Engine, chain: list[dict[str, Any]]
) -> None:
    store(engine, chain[:-2])
    with engine.begin() as connection:
        connection.execute(sa.update(audit_head).values(seq=LENGTH - 2, hash=chain[-3]["hash"]))
    assert verify(engine).first_broken_seq is None
    assert verify(engine, Anchor(LENGTH, chain[-1]["hash"])).first_broken_seq == LENGTH


def test_more_entries_than_a_page_are_verified(clean_database: None, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for n in range(450):
            record(connection, SYSTEM, "thing.changed", f"thing_{n}")
    assert verify(engine).entries == 450
    with without_trigger(engine) as connection:
        connection.execute(sa.text("UPDATE audit_log SET resource = 'x' WHERE seq = 401"))
    assert verify(engine).first_broken_seq == 401


def test_secrets_are_refused_and_rolled_back_changes_leave_no_number(
    clean_database: None, engine: sa.Engine
) -> None:
    for member in ("password", "secret_hash", "refresh_token"):
        with engine.begin() as connection, pytest.raises(ValueError, match="secrets"):
            record(connection, SYSTEM, "x", "y", None, {member: "z"})
    with engine.connect() as connection:
        assert record(connection, SYSTEM, "x", "y") == 1
        connection.rollback()
    with engine.begin() as connection:
        assert record(connection, SYSTEM, "x", "y") == 1
    assert verify(engine).entries == 1


@pytest.mark.usefixtures("many_connections")
def test_of_many_at_once_each_has_its_place(admin: LambdaClient, engine: sa.Engine) -> None:
    from shared.db.engine import get_engine, transaction

    before = verify(engine).entries

    def append(n: int) -> list[int]:
        numbers = []
        for _ in range(10):
            with transaction(get_engine()) as connection:
                numbers.append(record(connection, Actor(f"usr_{n}", "x"), "a.b", "c"))
        return numbers

    numbers = [number for given in at_once(12, append) for number in given]
    assert sorted(numbers) == list(range(before + 1, before + 121))
    found = verify(engine)
    assert (found.entries, found.first_broken_seq) == (before + 120, None)
    with engine.connect() as connection:
        times = connection.scalars(sa.select(audit_log.c.at).order_by(audit_log.c.seq)).all()
    assert times == sorted(times)


def actions(admin: LambdaClient, **query: Any) -> list[str]:
    listed: list[str] = [e["action"] for e in admin.get("/api/audit", query).json()["items"]]
    return listed


def test_every_change_of_state_is_one_entry(admin: LambdaClient) -> None:
    request_id = "the-request"
    model = admin.post("/api/models", MODEL, headers={"x-request-id": request_id}).json()
    admin.patch(f"/api/models/{model['id']}", {"enabled": False}, headers={"if-match": "*"})
    policy = admin.post("/api/policies", {"name": "p", "document": DOCUMENT}).json()
    admin.post("/api/models", MODEL)  # refused
    admin.get("/api/models")
    newest = admin.get("/api/audit", {"limit": 3}).json()["items"]
    assert [e["action"] for e in newest] == ["policy.created", "model.updated", "model.created"]
    created, updated, made = newest[2], newest[1], newest[0]
    assert created["resource"] == f"model:{MODEL['id']}" and created["request_id"] == request_id
    assert created["actor"]["name"] == ADMIN[0] and created["actor"]["kind"] == "user"
    assert created["before"] is None and created["after"]["context_tokens"] == 128_000
    assert (updated["before"], updated["after"]) == ({"enabled": True}, {"enabled": False})
    assert made["resource"] == policy["id"] and made["after"]["document"]["levels"]
    assert admin.get("/api/audit/verify").json()["ok"] is True


def test_comings_and_goings_are_entries(admin: LambdaClient, engine: sa.Engine) -> None:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    session = admin.with_token(None).post("/api/auth/login", body).json()
    refreshed = {"refresh_token": session["refresh_token"]}
    admin.with_token(None).post("/api/auth/refresh", refreshed)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE refresh_tokens SET spent_at = spent_at - '11s'::interval")
        )
    for _ in range(3):
        admin.with_token(None).post("/api/auth/refresh", refreshed)
    other = admin.with_token(None).post("/api/auth/login", body).json()
    admin.with_token(other["access_token"]).post("/api/auth/logout")
    assert actions(admin, action="session.") == [
        "session.ended", "session.started", "session.reuse_detected", "session.started",
        "session.started",
    ]  # fmt: skip


def test_a_key_acts_under_its_own_name(admin: LambdaClient) -> None:
    made = admin.post("/api/keys", {"name": "deployer", "scopes": ["manage"]}).json()
    admin.with_token(made["secret"]).post("/api/models", MODEL)
    (entry,) = admin.get("/api/audit", {"actor": made["id"]}).json()["items"]
    assert entry["actor"] == {"id": made["id"], "kind": "api_key", "name": "deployer"}


def test_the_list_is_narrowed_and_paged(admin: LambdaClient) -> None:
    for n in range(3):
        admin.post("/api/keys", {"name": f"k{n}", "scopes": ["read"]})
    assert actions(admin, action="key.created") == ["key.created"] * 3
    assert actions(admin, action="key.") == ["key.created"] * 3
    assert actions(admin, action="key") == actions(admin, action="k%.") == []
    assert actions(admin, resource="key_x") == actions(admin, actor="x'--") == []
    newest = admin.get("/api/audit", {"limit": 1}).json()["items"][0]
    assert actions(admin, **{"from": newest["at"]}) == ["key.created"]
    assert actions(admin, to=newest["at"], action="key.") == ["key.created"] * 2
    seqs: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = admin.get("/api/audit", query).json()
        seqs += [e["seq"] for e in page["items"]]
        cursor = page["next_cursor"]
    assert seqs == list(range(len(seqs), 0, -1)) and len(seqs) >= 5


def test_verification_tells_and_takes_the_head(admin: LambdaClient, engine: sa.Engine) -> None:
    first = admin.get("/api/audit/verify").json()
    assert first["ok"] and first["entries"] == first["head_seq"] > 0
    admin.post("/api/keys", {"name": "k", "scopes": ["read"]})
    anchor = {"anchor_seq": first["head_seq"], "anchor_hash": first["head_hash"]}
    assert admin.get("/api/audit/verify", anchor).json()["anchor_found"] is True
    wrong = admin.get("/api/audit/verify", {**anchor, "anchor_seq": 1}).json()
    assert (wrong["ok"], wrong["first_broken_seq"], wrong["anchor_found"]) == (False, 1, False)
    half = admin.get("/api/audit/verify", {"anchor_seq": 1})
    assert half.status == 422 and half.json()["errors"][0]["pointer"] == "?anchor_hash"
    with without_trigger(engine) as connection:
        connection.execute(sa.text("UPDATE audit_log SET actor_name = 'nobody' WHERE seq = 2"))
    broken = admin.get("/api/audit/verify").json()
    assert (broken["ok"], broken["first_broken_seq"], broken["entries"]) == (False, 2, 1)


def test_only_administrators_see_it(admin: LambdaClient) -> None:
    made = admin.post("/api/keys", {"name": "k", "scopes": ["manage", "read"]}).json()
    for path in ("/api/audit", "/api/audit/verify"):
        assert admin.with_token(made["secret"]).get(path).status == 403


def test_the_hash_is_what_the_documentation_says(chain: list[dict[str, Any]]) -> None:
    import hashlib

    entry = chain[4]
    said = {
        **{k: entry[k] for k in entry if k not in {"hash", "prev_hash", "at"}},
        "at": entry["at"].strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),
        "prev_hash": entry["prev_hash"].hex(),
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).digest() == entry["hash"]
