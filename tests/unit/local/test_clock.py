"""The clock of tests."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from infra.local.clock import SystemClock, VirtualClock, wait_for_event

pytestmark = pytest.mark.anyio


async def test_sleepers_wake_in_order_each_at_its_own_time(clock: VirtualClock) -> None:
    woken: list[tuple[int, datetime]] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.now()))

    start = clock.now()
    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (30, 10, 20, 99)]
    await clock.advance(50)
    assert woken == [(s, start + timedelta(seconds=s)) for s in (10, 20, 30)]
    assert clock.now() == start + timedelta(seconds=50)
    tasks[3].cancel()
    await asyncio.wait(tasks)
    await clock.advance(100)


async def test_loop_that_sleeps_again_runs_each_time(clock: VirtualClock) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await clock.sleep(1)
            ticks += 1

    task = asyncio.create_task(tick())
    await clock.advance(10)
    assert ticks == 10
    task.cancel()


async def test_waiting_ends_with_the_event_or_the_time(clock: VirtualClock) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, clock, 10))
    await clock.advance(9)
    assert not waiting.done()
    await clock.advance(1)
    assert waiting.done()
    waiting = asyncio.create_task(wait_for_event(event, clock, 10))
    event.set()
    await clock.advance(0)
    assert waiting.done()


async def test_system_clock_is_aware() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0)
    assert before.utcoffset() == timedelta(0)
    assert clock.now() >= before
