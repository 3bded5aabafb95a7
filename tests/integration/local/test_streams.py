"""Responses that pass on part by part, from a server behind the Web Adapter's stand-in."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.local.conftest import RunningCloud, Start, eventually
from tests.integration.local.test_http import is_running

pytestmark = pytest.mark.anyio
PATH = "/v1/stream"


async def ask(running: RunningCloud, **command: Any) -> httpx.Response:
    return await running.http.post(PATH, json=command)


async def pid_of(running: RunningCloud) -> int:
    pid: int = (await ask(running)).json()["pid"]
    return pid


async def test_each_part_reaches_the_client_before_the_next_is_made(
    start: Start, tmp_path: Path
) -> None:
    running = await start()
    async with running.http.stream("POST", PATH, json={"parts": 3, "gate": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["transfer-encoding"] == "chunked"
        seen = []
        async for part in answer.aiter_raw():
            seen.append(part)
            (tmp_path / f"gate-{len(seen)}").touch()
    assert seen == [b"0.", b"1.", b"2."]


async def test_server_sees_the_request_and_the_client_its_answer(
    start: Start, tmp_path: Path
) -> None:
    running = await start()
    answer = await running.http.post(
        f"{PATH}?a=1&b=%20", json={}, headers={"x-mine": "yes", "x-forwarded-for": "1.2.3.4"}
    )
    report = answer.json()
    assert (report["path"], report["query"]) == (PATH, "a=1&b=%20")
    assert report["headers"]["x-mine"] == "yes"
    assert report["headers"]["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert report["headers"]["host"] == running.cloud.url.removeprefix("http://")
    assert report["environment"]["STAGE"] == "dev"
    assert report["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "Streamer"
    assert answer.headers["x-own"] == "1"
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert len(answer.headers.get_list("date")) == 1
    assert "the server starts" in (tmp_path / "logs" / "Streamer.log").read_text()


async def test_server_is_reused_and_serves_one_request_at_a_time(start: Start) -> None:
    running = await start(max_environments=2)
    answers = await asyncio.gather(*(ask(running, sleep=0.01) for _ in range(20)))
    pids = Counter(answer.json()["pid"] for answer in answers)
    assert len(pids) == 2
    first = await pid_of(running)
    assert {await pid_of(running) for _ in range(5)} == {first}


async def test_client_that_leaves_ends_the_stream_and_the_server_is_used_again(
    start: Start,
) -> None:
    running = await start(max_environments=1)
    pid = await pid_of(running)
    async with running.http.stream("POST", PATH, json={"parts": 50, "part_s": 0.02}) as answer:
        async for _ in answer.aiter_raw():
            break
    [line] = await running.journal_of(1)
    assert line["closed_after"] < 49
    assert await pid_of(running) == pid


async def test_stream_over_the_functions_time_is_cut_and_its_server_killed(start: Start) -> None:
    running = await start(max_environments=1)
    pid = await pid_of(running)
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(running, parts=200, part_s=0.05)
    await eventually(lambda: not is_running(pid))
    assert await pid_of(running) != pid


async def test_server_that_takes_too_long_to_begin_is_a_504(start: Start) -> None:
    running = await start()
    answer = await ask(running, sleep=9)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "function_timeout"


async def test_server_that_dies_before_its_answer_is_a_502_and_replaced(start: Start) -> None:
    running = await start()
    failed = await ask(running, exit=3)
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "function_error")
    assert (await ask(running)).status_code == 200


async def test_server_that_dies_in_the_middle_cuts_the_response(
    start: Start, tmp_path: Path
) -> None:
    running = await start()
    command = {"parts": 3, "gate": True, "die": 3}
    async with running.http.stream("POST", PATH, json=command) as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"0."
        (tmp_path / "gate-1").touch()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(parts)
    assert (await ask(running)).status_code == 200


async def test_server_killed_while_idle_is_replaced(start: Start) -> None:
    running = await start()
    pid = await pid_of(running)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not is_running(pid))
    await asyncio.sleep(0.1)  # until the cloud has heard of it; sooner it would be a 502
    assert await pid_of(running) != pid


async def test_large_parts_arrive_whole(start: Start) -> None:
    running = await start()
    answer = await ask(running, parts=8, size=1_000_000)
    assert answer.content == b"".join(b"%d." % n + b"x" * 1_000_000 for n in range(8))


async def test_body_over_6_mb_is_refused_before_the_server(start: Start) -> None:
    running = await start()
    answer = await running.http.post(PATH, content=b" " * (6 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert running.cloud.servers["Streamer"].pids == []


async def test_stop_ends_the_servers(start: Start) -> None:
    running = await start()
    pid = await pid_of(running)
    await running.cloud.stop()
    assert not is_running(pid)


async def test_asynchronous_invocation_of_a_server_is_refused(start: Start) -> None:
    running = await start()
    assert (await running.internal.post("/invoke/Streamer", json={})).status_code == 404


async def test_many_streams_at_once(start: Start) -> None:
    running = await start(max_environments=3)
    answers = await asyncio.gather(*(ask(running, parts=5) for _ in range(30)))
    assert {answer.content for answer in answers} == {b"0.1.2.3.4."}
    assert [line["closed_after"] for line in running.journal()] == [4] * 30
