"""Bus, queues and workers through the real processes and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from infra.local.clock import VirtualClock
from infra.local.faults import Faults
from tests.integration.local.conftest import (
    Start,
    eventually,
    numbers,
    queue_depths,
    rows,
)

pytestmark = pytest.mark.anyio

VISIBILITY_S = 12  # of the queue Work in the sample template
MAX_RECEIVES = 3


async def test_matched_event_reaches_the_worker_once_and_leaves_the_queue(
    start: Start, queue_database: str
) -> None:
    running = await start()
    result = await running.put("WorkWanted", {"n": 1})
    [line] = await running.journal_of(1)
    envelope = json.loads(line["record"]["body"])
    assert envelope | {"time": ""} == {
        "version": "0", "id": result["Entries"][0]["EventId"], "detail-type": "WorkWanted",
        "source": "davinci.test", "account": "000000000000", "time": "", "region": "us-east-1",
        "resources": [], "detail": {"n": 1},
    }  # fmt: skip
    assert line["record"]["eventSource"] == "aws:sqs"
    assert line["record"]["eventSourceARN"].endswith(":Work")
    assert line["record"]["attributes"]["ApproximateReceiveCount"] == "1"
    await eventually(lambda: queue_depths(queue_database) == {})


async def test_unmatched_event_reaches_nobody(start: Start, queue_database: str) -> None:
    running = await start()
    await running.put("NobodyCares", {"n": 1})
    assert queue_depths(queue_database) == {}


async def test_bad_entries_fail_alone_and_the_others_are_delivered(start: Start) -> None:
    running = await start()
    good = {
        "Source": "davinci.test", "DetailType": "WorkWanted", "Detail": '{"n": 7}',
        "EventBusName": "davinci-dev",
    }  # fmt: skip
    bad: list[dict[str, Any]] = [
        {**good, "Source": ""},
        {**good, "Detail": "no json"},
        {**good, "Detail": "[1]"},
        {**good, "Detail": json.dumps({"x": "x" * 256 * 1024})},
        {**good, "EventBusName": "unknown"},
        {**good, "Source": "aws.s3"},
        {**good, "Time": "yesterday"},
    ]
    answer = (await running.internal.post("/bus", json={"Entries": [*bad, good]})).json()
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert answer["FailedEntryCount"] == len(bad)
    assert codes == [
        "InvalidArgument", "MalformedDetail", "MalformedDetail", "InvalidArgument",
        "ResourceNotFoundException", "NotAuthorizedForSourceException", "InvalidArgument", None,
    ]  # fmt: skip
    assert numbers(await running.journal_of(1)) == [7]


@pytest.mark.parametrize("entries", [[], [{}] * 11, None, "x"])
async def test_put_events_takes_one_to_ten_entries(start: Start, entries: Any) -> None:
    running = await start()
    answer = await running.internal.post("/bus", json={"Entries": entries})
    assert answer.status_code == 400
    assert "ValidationException" in answer.json()["message"]


async def test_internal_listener_needs_its_token(start: Start) -> None:
    running = await start()
    for headers in ({"x-davinci-local-token": "wrong"}, {"x-davinci-local-token": ""}):
        answer = await running.internal.post("/bus", json={"Entries": []}, headers=headers)
        assert answer.status_code == 403
    assert (await running.internal.post("/invoke/Nobody", json={})).status_code == 404
    assert (await running.internal.get("/bus")).status_code == 405


async def test_worker_killed_in_the_middle_gets_the_message_again(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(clock=clock)
    await running.put("WorkWanted", {"n": 1, "kill_receives": 1})
    [killed] = await running.journal_of(1)
    await clock.advance(VISIBILITY_S - 1)
    assert len(running.journal()) == 1, "invisible until its timeout"
    await clock.advance(1)
    _, again = await running.journal_of(2)
    assert again["record"]["messageId"] == killed["record"]["messageId"]
    assert again["record"]["attributes"]["ApproximateReceiveCount"] == "2"
    assert again["pid"] != killed["pid"]
    await eventually(lambda: queue_depths(queue_database) == {})


async def test_worker_over_its_timeout_is_killed_and_the_message_comes_again(
    start: Start, clock: VirtualClock
) -> None:
    running = await start(clock=clock)
    await running.put("WorkWanted", {"n": 1, "hang_receives": 1})
    [hanging] = await running.journal_of(1)
    await eventually(lambda: hanging["pid"] not in running.cloud.pools["Worker"].pids)
    await clock.advance(VISIBILITY_S)
    assert (await running.journal_of(2))[1]["pid"] != hanging["pid"]


async def test_message_received_too_often_goes_to_the_dead_letters(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(clock=clock)
    await running.put("WorkWanted", {"n": 1, "fail_receives": 99}, {"n": 2})
    await eventually(lambda: queue_depths(queue_database) == {"Work": 1})
    for receives in range(1, MAX_RECEIVES + 1):
        await running.journal_of(receives + 1)
        await clock.advance(VISIBILITY_S)
    await eventually(lambda: queue_depths(queue_database) == {"WorkDeadLetters": 1})
    assert Counter(numbers(running.journal())) == {1: MAX_RECEIVES, 2: 1}


async def test_only_the_failed_items_of_a_batch_come_again(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(clock=clock)
    await running.put("WorkWanted", *({"n": n, "fail_receives": n % 2} for n in range(5)))
    assert {line["batch"] for line in await running.journal_of(5)} == {5}
    await eventually(lambda: queue_depths(queue_database) == {"Work": 2})
    await clock.advance(VISIBILITY_S)
    assert Counter(numbers(await running.journal_of(7))) == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}
    await eventually(lambda: queue_depths(queue_database) == {})


@pytest.mark.parametrize(
    "response",
    [
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"itemIdentifer": "misspelt"}]},
        {"batchItemFailures": [{"itemIdentifier": "of another batch"}]},
        ["x"],
    ],
    ids=str,
)
async def test_response_that_is_not_understood_fails_the_whole_batch(
    start: Start, clock: VirtualClock, queue_database: str, response: Any
) -> None:
    running = await start(clock=clock)
    await running.put("WorkWanted", {"n": 1, "response": response}, {"n": 2})
    await running.journal_of(1)
    await clock.advance(VISIBILITY_S)
    await running.journal_of(2)
    assert queue_depths(queue_database) == {"Work": 2}


async def test_batching_window_collects_until_it_ends(start: Start, clock: VirtualClock) -> None:
    running = await start(clock=clock)
    for n in range(3):
        await running.put("WindowWanted", {"n": n})
    for _ in range(29):
        await pass_time(clock, 1)
    assert running.journal() == []
    for _ in range(100):  # the consumer looked a little after the first message arrived
        await pass_time(clock, 0 if running.journal() else 1)
    assert [line["batch"] for line in running.journal()] == [3, 3, 3]


async def test_full_batch_does_not_wait_for_its_window(start: Start, clock: VirtualClock) -> None:
    running = await start(clock=clock)
    for half in (range(10), range(10, 20)):
        await running.put("WindowWanted", *({"n": n} for n in half))
    journal = await running.journal_of(20)
    assert {line["batch"] for line in journal} == {20}
    assert numbers(journal) == list(range(20)), "oldest first"


async def test_target_without_permission_leaves_the_event_in_the_rules_dead_letters(
    start: Start, queue_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = await start()
    await running.put("ClosedWanted", {"n": 1})
    assert queue_depths(queue_database) == {"WorkDeadLetters": 1}
    [(attributes,)] = rows(queue_database, "SELECT attributes FROM localcloud.messages")
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert attributes["RULE_ARN"].endswith("rule/davinci-dev/ClosedRule")
    assert "ClosedRule may not send to Closed" in caplog.text


async def test_duplicates_reach_the_worker_as_separate_messages(start: Start) -> None:
    running = await start(faults=Faults(duplicate=1.0, seed=1))
    await running.put("WorkWanted", *({"n": n} for n in range(5)))
    journal = await running.journal_of(10)
    assert Counter(numbers(journal)) == dict.fromkeys(range(5), 2)
    assert len({line["record"]["messageId"] for line in journal}) == 10
    assert len({json.loads(line["record"]["body"])["id"] for line in journal}) == 5


async def test_lost_result_brings_the_message_again_and_never_loses_it(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    running = await start(faults=Faults(drop=1.0), clock=clock)
    await running.put("WorkWanted", *({"n": n} for n in range(5)))
    for receives in range(1, MAX_RECEIVES + 1):
        await running.journal_of(5 * receives)
        await clock.advance(VISIBILITY_S)
    # The work was done each time; only nobody heard of it.
    await eventually(lambda: queue_depths(queue_database) == {"WorkDeadLetters": 5})
    assert Counter(numbers(running.journal())) == dict.fromkeys(range(5), MAX_RECEIVES)


async def test_reordered_messages_overtake_one_another(start: Start) -> None:
    running = await start(faults=Faults(reorder=0.5, seed=5))
    for n in range(10):
        await running.put("WorkWanted", {"n": n})
    journal = numbers(await running.journal_of(10))
    assert sorted(journal) == list(range(10))
    assert journal != sorted(journal)


async def test_delayed_messages_are_not_due_before_their_time(
    start: Start, clock: VirtualClock
) -> None:
    running = await start(faults=Faults(delay_s=1000, seed=1), clock=clock)
    await running.put("WorkWanted", *({"n": n} for n in range(5)))
    assert running.journal() == []
    for _ in range(100):
        await clock.advance(10)
    await running.journal_of(5)


async def test_queues_survive_a_restart_of_the_cloud(
    start: Start, clock: VirtualClock, queue_database: str
) -> None:
    first = await start(clock=clock)
    await first.put("WindowWanted", {"n": 1})
    await first.cloud.stop()
    assert queue_depths(queue_database) == {"Windowed": 1}
    second = await start(clock=clock)
    for _ in range(100):
        await pass_time(clock, 0 if second.journal() else 1)
    assert numbers(second.journal()) == [1]


async def pass_time(clock: VirtualClock, seconds: float) -> None:
    """Move the clock and give the database, which lives in real time, a moment to answer."""
    await clock.advance(seconds)
    await asyncio.sleep(0.02)
