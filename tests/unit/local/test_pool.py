"""Who gets which environment, without processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from infra.local.environments import Environment, FunctionPool
from infra.local.gateway import Gateway
from infra.local.pool import (
    FunctionCrashedError,
    FunctionFailedError,
    FunctionInitError,
    FunctionTimeoutError,
    RequestTooLargeError,
    ThrottledError,
)
from infra.local.routes import RouteTable
from infra.local.static import StaticSite
from infra.local.system import Function, Route

pytestmark = pytest.mark.anyio


def make_function(**changes: Any) -> Function:
    values: dict[str, Any] = {
        "name": "F", "arn": "arn", "handler": "a.b", "timeout_s": 5.0, "memory_mb": 128,
        "environment": {}, "reserved_concurrency": None, "max_retries": 2, "failure_queue": None,
    }  # fmt: skip
    return Function(**values | changes)


class InProcessEnvironment:
    """Obeys the event instead of importing a handler."""

    def __init__(self) -> None:
        self.is_alive = True
        self.idle_since = 0.0
        self.is_busy = False
        self.n_calls = 0

    async def call(self, event: bytes) -> Any:
        assert not self.is_busy, "one event at a time"
        self.is_busy = True
        self.n_calls += 1
        command = json.loads(event)
        await asyncio.sleep(command.get("sleep", 0))
        self.is_busy = False
        if command.get("raise"):
            raise FunctionFailedError("F", {"errorType": "E", "errorMessage": "m"})
        if command.get("crash"):
            raise FunctionCrashedError("F")
        return command

    async def kill(self) -> None:
        self.is_alive = False

    async def stop(self) -> None:
        self.is_alive = False


class Starter:
    """Starts environments after a while, or fails to."""

    def __init__(self, delay_s: float = 0.0, *, fails: bool = False) -> None:
        self.delay_s = delay_s
        self.fails = fails
        self.started: list[InProcessEnvironment] = []

    async def __call__(self, function: Function) -> Environment:
        await asyncio.sleep(self.delay_s)
        if self.fails:
            raise FunctionInitError(f"{function.name} has no handler")
        self.started.append(InProcessEnvironment())
        return cast("Environment", self.started[-1])

    def pool(self, size: int = 4, **options: Any) -> FunctionPool:
        function = options.pop("function", make_function())
        return FunctionPool(function, self, size, **options)


async def test_last_used_environment_is_used_again() -> None:
    starter = Starter()
    pool = starter.pool()
    await asyncio.gather(*(pool.invoke({"sleep": 0.01}) for _ in range(3)))
    assert len(starter.started) == 3
    for _ in range(5):
        await pool.invoke({})
    assert sorted(e.n_calls for e in starter.started) == [1, 1, 6]


async def test_cold_start_does_not_delay_a_caller_that_a_warm_environment_can_serve() -> None:
    starter = Starter()
    pool = starter.pool()
    await pool.invoke({})
    starter.delay_s = 60
    async with asyncio.timeout(5):
        await asyncio.gather(*(pool.invoke({"sleep": 0.001}) for _ in range(20)))
    assert len(starter.started) == 1
    await pool.close()


async def test_callers_beyond_the_size_wait_their_turn() -> None:
    starter = Starter()
    pool = starter.pool(size=2)
    results = await asyncio.gather(*(pool.invoke({"n": n, "sleep": 0.001}) for n in range(30)))
    assert [result["n"] for result in results] == list(range(30))
    assert len(starter.started) == 2


async def test_too_many_waiting_callers_are_throttled() -> None:
    pool = Starter().pool(size=1, max_waiting=2)
    calls = [asyncio.create_task(pool.invoke({"sleep": 0.05})) for _ in range(2)]
    await asyncio.sleep(0.01)
    calls += [asyncio.create_task(pool.invoke({})) for _ in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, ThrottledError) for result in results) == 2


async def test_zero_reserved_concurrency_throttles_everything() -> None:
    with pytest.raises(ThrottledError):
        await Starter().pool(function=make_function(reserved_concurrency=0)).invoke({})


async def test_handler_error_keeps_the_environment_and_a_crash_replaces_it() -> None:
    starter = Starter()
    pool = starter.pool()
    with pytest.raises(FunctionFailedError):
        await pool.invoke({"raise": True})
    with pytest.raises(FunctionCrashedError):
        await pool.invoke({"crash": True})
    assert len(starter.started) == 1
    await pool.invoke({})
    assert [e.is_alive for e in starter.started] == [False, True]


async def test_timeout_kills_and_serves_those_who_wait_from_a_new_environment() -> None:
    starter = Starter()
    pool = starter.pool(size=1, function=make_function(timeout_s=0.05))
    slow = asyncio.create_task(pool.invoke({"sleep": 9}))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(pool.invoke({"n": 1}))
    with pytest.raises(FunctionTimeoutError, match=r"F timed out after 0\.05 s"):
        await slow
    assert await waiting == {"n": 1}
    assert [e.is_alive for e in starter.started] == [False, True]


async def test_failed_start_fails_everybody_who_waits_for_it() -> None:
    starter = Starter(0.01, fails=True)
    pool = starter.pool(size=2)
    calls = await asyncio.gather(*(pool.invoke({}) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, FunctionInitError) for result in calls)
    starter.fails = False
    assert await pool.invoke({"n": 1}) == {"n": 1}


async def test_caller_that_gives_up_leaves_its_environment_to_the_next() -> None:
    starter = Starter(0.02)
    pool = starter.pool(size=1)
    first = asyncio.create_task(pool.invoke({}))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await pool.invoke({"n": 2}) == {"n": 2}
    assert len(starter.started) == 1


async def test_event_over_6_mb_is_refused_before_it_is_sent() -> None:
    starter = Starter()
    with pytest.raises(RequestTooLargeError):
        await starter.pool().invoke({"body": "x" * 6 * 1024 * 1024})
    assert starter.started == []


async def test_closing_fails_those_who_wait_and_starts_nothing_more() -> None:
    starter = Starter(60)
    pool = starter.pool()
    call = asyncio.create_task(pool.invoke({}))
    await asyncio.sleep(0.01)
    await pool.close()
    with pytest.raises(ThrottledError):
        await call
    with pytest.raises(ThrottledError):
        await pool.invoke({})


async def test_gateway_answers_at_its_own_limit_while_the_function_goes_on(tmp_path: Path) -> None:
    starter = Starter()
    routes = RouteTable([Route(method="GET", path="/api/slow", function="F")])
    pool = FunctionPool(make_function(), SleepyStarter(starter), 1)
    gateway = Gateway(routes, {"F": pool}, StaticSite(tmp_path), timeout_s=0.02)
    assert await status_of(gateway, "/api/slow") == 503
    await asyncio.sleep(0.1)
    assert starter.started[0].n_calls == 1
    assert starter.started[0].is_alive


class SleepyStarter:
    """Environments that sleep before they answer, whatever the event."""

    def __init__(self, starter: Starter) -> None:
        self._starter = starter

    async def __call__(self, function: Function) -> Environment:
        environment = await self._starter(function)
        call = environment.call

        async def slow_call(event: bytes) -> Any:
            await asyncio.sleep(0.05)
            return await call(event)

        cast("Any", environment).call = slow_call
        return environment


async def status_of(gateway: Gateway, path: str) -> int:
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    status: int = sent[0]["status"]
    return status
