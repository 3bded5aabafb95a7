"""Asynchronous invocations and schedules through the real processes."""

from __future__ import annotations

import json

import pytest

from infra.local.clock import VirtualClock
from tests.integration.local.conftest import Start, eventually, queue_depths, rows

pytestmark = pytest.mark.anyio


async def test_invocation_is_accepted_at_once_and_runs_once(
    start: Start, queue_database: str
) -> None:
    running = await start()
    answer = await running.internal.post("/invoke/Worker", json={"wake": True})
    assert (answer.status_code, answer.content) == (202, b"")
    [line] = await running.journal_of(1)
    assert (line["event"], line["function"]) == ({"wake": True}, "Worker")
    await eventually(lambda: queue_depths(queue_database) == {})


async def test_invocation_that_is_not_json_is_refused(start: Start) -> None:
    running = await start()
    assert (await running.internal.post("/invoke/Worker", content=b"{")).status_code == 400


async def test_failed_invocation_is_tried_twice_more_then_reported(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(clock=clock)
    await running.internal.post("/invoke/Worker", json={"fail": True})
    for n_attempts, delay_s in ((1, 60), (2, 120)):
        await running.journal_of(n_attempts)
        await eventually(lambda: is_postponed(queue_database, clock, delay_s))  # noqa: B023
        await clock.advance(delay_s - 1)
        assert len(running.journal()) == n_attempts
        await clock.advance(1)
    await running.journal_of(3)
    await eventually(lambda: queue_depths(queue_database) == {"WorkDeadLetters": 1})
    [(body,)] = rows(queue_database, "SELECT body FROM localcloud.messages")
    report = json.loads(body)
    assert report["requestPayload"] == {"fail": True}
    assert report["requestContext"]["condition"] == "RetriesExhausted"
    assert "RuntimeError" in report["responsePayload"]["errorMessage"]


async def test_schedule_invokes_its_function_and_remembers(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(clock=clock)
    await eventually(lambda: n_anchors(queue_database) == 1)
    await clock.advance(3599)
    assert running.journal() == []
    await clock.advance(1)
    [line] = await running.journal_of(1)
    assert line["event"] == {"tick": "2026-11-22T13:00:00Z"}
    await running.cloud.stop()
    # Down for a day: one run makes up for all that were missed.
    await clock.advance(24 * 3600)
    again = await start(clock=clock)
    await again.journal_of(2)
    await clock.advance(1800)
    assert len(again.journal()) == 2


def is_postponed(database_url: str, clock: VirtualClock, seconds: float) -> bool:
    [(visible_at,)] = rows(database_url, "SELECT visible_at FROM localcloud.messages")
    return bool((visible_at - clock.now()).total_seconds() == seconds)


def n_anchors(database_url: str) -> int:
    return len(rows(database_url, "SELECT name FROM localcloud.schedules"))
