"""The event log: dense, complete, resumable."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import outbox
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.fakes.threads import at_once
from tests.integration.conftest import TakesAll

MakeKey = Callable[..., LambdaClient]


@pytest.fixture
def client(make_key: MakeKey, registry: list[str]) -> LambdaClient:
    return make_key("route", "feedback", "read")


def decide(client: LambdaClient) -> str:
    return str(client.post("/api/neural/route", {"prompt": "x"}).json()["decision_id"])


def blocks_of(body: str) -> list[dict[str, str]]:
    """Parse server-sent events as a browser would."""
    blocks = [b for b in body.split("\n\n") if b]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def test_an_event_is_listed_once_it_is_numbered(client: LambdaClient, takes_all: TakesAll) -> None:
    decision_id = decide(client)
    assert client.get("/api/events").json() == {
        "items": [],
        "next_cursor": None,
        "last_sequence": 0,
    }
    invoke_worker("events", {})
    page = client.get("/api/events").json()
    (event,) = page["items"]
    assert page["last_sequence"] == event["sequence"] == 1
    assert event["type"] == "neural.route.completed"
    assert event["data"]["decision_id"] == decision_id
    assert re.fullmatch(r"evt_[0-9a-f]{32}", event["event_id"])


def test_pages_and_types(client: LambdaClient, takes_all: TakesAll) -> None:
    for n in range(4):
        decision_id = decide(client)
        client.post("/api/learning/feedback", {"decision_id": decision_id, "score": n / 4})
    invoke_worker("events", {})
    feedback = client.get("/api/events", {"types": "feedback.recorded"}).json()["items"]
    assert [e["data"]["score"] for e in feedback] == [0, 0.25, 0.5, 0.75]
    both = client.get("/api/events", {"types": ["feedback.recorded", "neural.route.completed"]})
    assert [e["sequence"] for e in both.json()["items"]] == list(range(1, 9))
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = client.get("/api/events", query).json()
        seen += [e["sequence"] for e in page["items"]]
        if page["next_cursor"] is None:
            break
        query = {"limit": 3, "cursor": page["next_cursor"]}
    assert seen == list(range(1, 9))
    assert [e["sequence"] for e in client.get("/api/events", {"after": 6}).json()["items"]] == [
        7,
        8,
    ]
    unknown = client.get("/api/events", {"types": "no.such"})
    assert unknown.status == 422 and unknown.json()["errors"][0]["pointer"] == "?types"


def test_a_stream_resumes_where_it_was_left(client: LambdaClient, takes_all: TakesAll) -> None:
    for _ in range(3):
        decide(client)
    invoke_worker("events", {})
    answer = client.get("/api/events/stream", headers={"last-event-id": "1"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *rest = blocks_of(answer.body)
    assert int(first["retry"]) > 0
    assert [b["id"] for b in rest] == ["2", "3"]
    assert {b["event"] for b in rest} == {"neural.route.completed"}
    nothing = blocks_of(client.get("/api/events/stream", headers={"last-event-id": "3"}).body)[1:]
    assert [b["id"] for b in nothing] == ["3"] and nothing[0]["event"] == "position"
    fresh = blocks_of(client.get("/api/events/stream").body)[1:]
    assert [b["id"] for b in fresh] == ["3"]


def test_a_filtered_stream_moves_over_what_it_leaves_out(
    client: LambdaClient, takes_all: TakesAll
) -> None:
    decision_id = decide(client)
    client.post("/api/learning/feedback", {"decision_id": decision_id, "score": 1})
    decide(client)
    invoke_worker("events", {})
    query = {"after": 0, "types": "feedback.recorded"}
    blocks = blocks_of(client.get("/api/events/stream", query).body)[1:]
    assert [(b["id"], b["event"]) for b in blocks] == [
        ("2", "feedback.recorded"),
        ("3", "position"),
    ]


@pytest.mark.parametrize("position", ["-1", "x", "1.5", "²", "9" * 19, "9" * 25, " ", "1 2"])
def test_a_position_that_is_none_is_422(client: LambdaClient, position: str) -> None:
    refused = client.get("/api/events/stream", headers={"last-event-id": position})
    assert refused.status == 422, refused.body


def test_a_position_beyond_the_log_waits(client: LambdaClient) -> None:
    answer = client.get("/api/events/stream", headers={"last-event-id": "9" * 18})
    assert answer.status == 200 and blocks_of(answer.body)[1]["id"] == "9" * 18
    assert client.get("/api/events", {"after": 2**62}).json()["items"] == []
    assert client.get("/api/events", {"after": 2**63}).status == 422


@pytest.mark.usefixtures("many_connections")
def test_a_reader_misses_nothing_while_many_write_and_two_relays_number(
    client: LambdaClient, takes_all: TakesAll, engine: sa.Engine
) -> None:
    writers, writes = 4, 15
    deadline = time.monotonic() + 15
    running, lock = [writers], threading.Lock()
    seen: list[int] = []

    def written() -> bool:
        return running[0] == 0 or time.monotonic() > deadline

    def write() -> None:
        try:
            for _ in range(writes):
                decide(client)
        finally:
            with lock:
                running[0] -= 1

    def relay() -> None:
        while not written():
            invoke_worker("events", {})

    def read() -> None:
        position = 0
        while position < writers * writes and time.monotonic() < deadline:
            headers = {"last-event-id": str(position)}
            for block in blocks_of(client.get("/api/events/stream", headers=headers).body)[1:]:
                if block["event"] != "position":
                    seen.append(int(block["id"]))
                position = int(block["id"])
            if written():
                invoke_worker("events", {})

    roles = [write] * writers + [relay, relay, read]
    at_once(len(roles), lambda index: roles[index]())
    with engine.connect() as connection:
        stored = connection.scalars(sa.select(outbox.c.sequence).order_by(outbox.c.sequence)).all()
    assert stored == list(range(1, writers * writes + 1))
    assert seen == stored
    # Nothing was published twice, and everything once, although two relays ran.
    published = takes_all.sequences("NeuralRouteCompleted")
    assert sorted(published) == stored
