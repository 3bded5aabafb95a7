"""A gateway without rate limits: nothing keeps a model waiting for the decision to be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared.db.tables import decisions, outcomes, rate_limits
from tests.fakes.upstream import FakeUpstream
from tests.integration.container import container_with
from tests.integration.gateway import CHAT, STREAM, Books, MakeKey

PATH = "/v1/chat/completions"
UNLIMITED = {f"DAVINCI_RATE_LIMIT_{whose}_PER_MINUTE": "0" for whose in ("GLOBAL", "CALLER")}
WAIT_S, MOMENT_S = 8.0, 0.3
_BLOCKED = sa.text(
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%decisions(%'"
)

Post = Callable[[dict[str, Any]], Future[httpx.Response]]


@pytest.fixture
def books(engine: sa.Engine, registry: list[str]) -> Books:
    return Books(engine)


@contextmanager
def posting(make_key: MakeKey, settings: dict[str, str], **key: Any) -> Iterator[Post]:
    """Yield what posts to the service in another thread."""
    with container_with(settings) as url, ThreadPoolExecutor(4) as pool:
        headers = {"authorization": f"Bearer {make_key('chat', 'read', **key).token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
            # From here on the process knows the key.
            assert client.get("/v1/models").status_code == 200
            yield lambda body: pool.submit(client.post, PATH, json=body)


@contextmanager
def held(engine: sa.Engine) -> Iterator[None]:
    """Let no decision be written meanwhile."""
    with engine.connect() as holder:
        holder.execute(sa.text("LOCK TABLE decisions IN SHARE MODE"))
        yield
        holder.rollback()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blocked(engine: sa.Engine) -> list[int]:
    with engine.connect() as watcher:
        return list(watcher.scalars(_BLOCKED))


def test_the_model_is_called_while_the_decision_is_written_and_answers_after_it(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests)
            time.sleep(MOMENT_S)
            assert not call.done() and books.rows(outcomes) == []
        answer = call.result(WAIT_S)
    assert answer.status_code == 200
    (decision,) = books.rows(decisions)
    assert answer.headers["x-davinci-decision-id"] == f"dec_{decision.id.hex}"
    books.assert_closed()


@pytest.mark.parametrize(
    ("settings", "body", "key"),
    [
        ({}, CHAT, {}),
        ({**UNLIMITED, "DAVINCI_RATE_LIMIT_GLOBAL_PER_MINUTE": "9"}, CHAT, {}),
        (UNLIMITED, CHAT, {"rpm": 9}),
        (UNLIMITED, {**CHAT, "max_tokens": 9}, {"budget": {"usd": 1.0, "window": "day"}}),
        (UNLIMITED, STREAM, {}),
    ],
    ids=["limits", "limit of all", "limit of the key", "budget", "stream"],
)  # fmt: skip
def test_whatever_else_hangs_on_the_decision_waits_for_it(
    make_key: MakeKey, books: Books, upstream: FakeUpstream, settings: dict[str, str],
    body: dict[str, Any], key: dict[str, Any],
) -> None:  # fmt: skip
    with posting(make_key, settings, **key) as post:
        with held(books.engine):
            call = post(body)
            until(lambda: blocked(books.engine))
            time.sleep(MOMENT_S)
            assert upstream.requests == []
        assert call.result(WAIT_S).status_code == 200
    books.assert_closed()


def test_without_the_decision_no_answer_leaves_and_the_next_request_waits_for_its_own(
    make_key: MakeKey, books: Books, upstream: FakeUpstream
) -> None:
    with posting(make_key, UNLIMITED) as post:
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests and blocked(books.engine))
            with books.engine.connect() as other:
                other.execute(sa.select(sa.func.pg_cancel_backend(blocked(books.engine)[0])))
            refused = call.result(WAIT_S)
            assert refused.status_code == 503, refused.text
            assert "x-davinci-decision-id" not in refused.headers
            assert books.rows(decisions) == books.rows(outcomes) == []

            upstream.requests.clear()
            call = post(CHAT)
            until(lambda: blocked(books.engine))
            time.sleep(MOMENT_S)
            assert upstream.requests == [], "nobody pays again for what may not be written"
        assert call.result(WAIT_S).status_code == 200
        upstream.requests.clear()
        with held(books.engine):
            call = post(CHAT)
            until(lambda: upstream.requests)
        assert call.result(WAIT_S).status_code == 200
    books.assert_closed()


@pytest.mark.parametrize("key", [{}, {"rpm": 9}])
def test_no_limit_is_no_bucket_and_no_header(
    make_key: MakeKey, books: Books, key: dict[str, Any]
) -> None:
    with posting(make_key, UNLIMITED, **key) as post:
        with books.engine.begin() as connection:
            connection.execute(sa.delete(rate_limits))  # of those who made the key
        answer = post(CHAT).result(WAIT_S)
        assert answer.status_code == 200
        limits = [value for name, value in answer.headers.items() if name == "x-ratelimit-limit"]
        buckets = [row.id.partition(":key_")[0] for row in books.rows(rate_limits)]
    assert (limits, buckets) == ((["9"], ["default"]) if key else ([], []))
