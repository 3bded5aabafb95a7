"""Pages of a list that changes while it is read."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.db.tables import api_keys
from shared.kit.ids import KEY, parse, uuid7
from tests.fakes.lambda_client import LambdaClient

_STEP = st.tuples(st.integers(0, 3), st.lists(st.integers(0, 99), max_size=3))


def _add(engine: sa.Engine, how_many: int) -> list[UUID]:
    ids = [uuid7() for _ in range(how_many)]
    rows = [
        {"id": id_, "name": "page", "prefix": "dv_local_x", "secret_hash": id_.bytes,
         "scopes": ["read"], "created_by": "usr_test"}
        for id_ in ids
    ]  # fmt: skip
    if rows:
        with engine.begin() as connection:
            connection.execute(sa.insert(api_keys), rows)
    return ids


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    at_first=st.integers(0, 12),
    limit=st.integers(1, 5),
    steps=st.lists(_STEP, max_size=12),
)
def test_every_row_that_stays_is_seen_exactly_once(
    admin: LambdaClient, engine: sa.Engine, at_first: int, limit: int,
    steps: list[tuple[int, list[int]]],
) -> None:  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.delete(api_keys))
    stayed = set(_add(engine, at_first))
    seen: list[UUID] = []
    cursor: str | None = None
    changes = iter(steps)
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = admin.get("/api/keys", query)
        assert page.status == 200, page.body
        found = [parse(KEY, item["id"]) for item in page.json()["items"]]
        assert len(found) <= limit
        seen += found
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
        added, doomed = next(changes, (0, []))
        _add(engine, added)
        gone = {sorted(stayed)[place % len(stayed)] for place in doomed if stayed}
        with engine.begin() as connection:
            connection.execute(sa.delete(api_keys).where(api_keys.c.id.in_(gone)))
        stayed -= gone
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


@pytest.mark.parametrize("limit", [0, 101, "many"])
def test_a_limit_is_1_to_100(admin: LambdaClient, limit: object) -> None:
    refused = admin.get("/api/keys", {"limit": limit})
    assert refused.status == 422
    assert refused.json()["errors"][0]["pointer"] == "?limit"


def test_a_cursor_of_another_list_or_altered_is_refused(
    admin: LambdaClient, engine: sa.Engine
) -> None:
    _add(engine, 2)
    cursor = admin.get("/api/keys", {"limit": 1}).json()["next_cursor"]
    altered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for path, sent in (("/api/users", cursor), ("/api/keys", altered), ("/api/keys", "x")):
        refused = admin.get(path, {"cursor": sent})
        assert refused.status == 422, (path, sent)
        assert refused.json()["errors"][0]["pointer"] == "?cursor"
