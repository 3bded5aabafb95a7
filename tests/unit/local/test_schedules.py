"""Schedule expressions, and firing on a clock that the test drives."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.clock import VirtualClock
from infra.local.intrinsics import TemplateError
from infra.local.schedules import Scheduler, parse_expression, schedule_input
from infra.local.system import Schedule

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("rate(1 minute)", "UTC", "2026-11-22T12:01"),
        ("rate(5 minutes)", "UTC", "2026-11-22T12:05"),
        ("rate(2 hours)", "UTC", "2026-11-22T14:00"),
        ("rate(1 day)", "UTC", "2026-11-23T12:00"),
        ("cron(15 3 * * ? *)", "UTC", "2026-11-23T03:15"),
        ("cron(0/15 * * * ? *)", "UTC", "2026-11-22T12:15"),
        ("cron(0 12 * * ? *)", "UTC", "2026-11-23T12:00"),
        ("cron(30 10 ? * MON-FRI *)", "UTC", "2026-11-23T10:30"),
        ("cron(0 9 ? * 1 *)", "UTC", "2026-11-29T09:00"),
        ("cron(0 0 1 * ? *)", "UTC", "2026-12-01T00:00"),
        ("cron(0 0 1 JAN,JUL ? *)", "UTC", "2027-01-01T00:00"),
        ("cron(0 0 29 2 ? *)", "UTC", "2028-02-29T00:00"),
        ("cron(0 8-10/2 * * ? *)", "UTC", "2026-11-23T08:00"),
        ("cron(0 9 * * ? *)", "Asia/Seoul", "2026-11-23T00:00"),
        ("cron(0 0 1 1 ? 2026)", "UTC", None),
        ("at(2026-11-22T13:00:00)", "UTC", "2026-11-22T13:00"),
        ("at(2026-11-22T21:30:00)", "Asia/Seoul", "2026-11-22T12:30"),
        ("at(2026-11-22T11:59:59)", "UTC", None),
    ],
)
def test_next_run(expression: str, timezone: str, expected: str | None) -> None:
    run = parse_expression(expression, timezone).next_after(NOON)
    assert run == (datetime.fromisoformat(expected).replace(tzinfo=UTC) if expected else None)


@pytest.mark.parametrize(
    "expression",
    [
        "every(1 minute)", "rate(0 minutes)", "rate(1 week)", "rate(1.5 hours)", "cron(* * * *)",
        "cron(0 0 * * * *)", "cron(0 0 ? * ? *)", "cron(60 0 * * ? *)", "cron(0 0 L * ? *)",
        "cron(0 0 ? * FRI#2 *)", "cron(0 0 ? * XXX *)", "at(tomorrow)", "rate(1 minute",
    ],
)  # fmt: skip
def test_expression_that_is_not_understood_is_an_error(expression: str) -> None:
    with pytest.raises(TemplateError, match="schedule"):
        parse_expression(expression)


def test_unknown_timezone_is_an_error() -> None:
    with pytest.raises(TemplateError, match="Nowhere"):
        parse_expression("cron(0 0 * * ? *)", "Nowhere/City")


@given(st.timedeltas(timedelta(0), timedelta(days=4000)), st.integers(0, 59), st.integers(0, 23))
def test_daily_cron_runs_once_in_every_day(later: timedelta, minute: int, hour: int) -> None:
    trigger = parse_expression(f"cron({minute} {hour} * * ? *)")
    first = trigger.next_after(NOON + later)
    assert first
    assert timedelta(0) < first - (NOON + later) <= timedelta(days=1)
    assert trigger.next_after(first) == first + timedelta(days=1)


class MemoryAnchors:
    """Anchors of one test."""

    def __init__(self) -> None:
        self.saved: dict[str, datetime] = {}

    async def load(self, name: str) -> datetime | None:
        return self.saved.get(name)

    async def save(self, name: str, anchor: datetime) -> None:
        self.saved[name] = anchor


class Runner:
    """A scheduler and what it fired."""

    def __init__(self, clock: VirtualClock, expression: str, anchors: MemoryAnchors) -> None:
        self.clock = clock
        self.fired: list[datetime] = []
        schedule = Schedule(
            name="s", arn="arn", function="F", expression=expression, timezone="UTC", input=None
        )
        scheduler = Scheduler([schedule], clock, anchors, self._fire)
        self.task = asyncio.create_task(scheduler.run())

    async def _fire(self, schedule: Schedule, event: str) -> None:
        assert schedule.function == "F"
        assert json.loads(event)["detail-type"] == "Scheduled Event"
        self.fired.append(self.clock.now())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.mark.anyio
async def test_rate_fires_each_period(clock: VirtualClock) -> None:
    runner = Runner(clock, "rate(10 minutes)", MemoryAnchors())
    await clock.advance(3600)
    assert runner.fired == [NOON + timedelta(minutes=10 * i) for i in range(1, 7)]
    await runner.stop()


@pytest.mark.anyio
async def test_one_time_schedule_fires_once_and_ends(clock: VirtualClock) -> None:
    runner = Runner(clock, "at(2026-11-22T12:00:30)", MemoryAnchors())
    await clock.advance(3600)
    assert runner.fired == [NOON + timedelta(seconds=30)]
    assert runner.task.done()


@pytest.mark.anyio
@pytest.mark.parametrize("expression", ["rate(1 minute)", "cron(* * * * ? *)"])
async def test_missed_runs_become_one(clock: VirtualClock, expression: str) -> None:
    anchors = MemoryAnchors()
    anchors.saved["s"] = NOON - timedelta(days=2)
    runner = Runner(clock, expression, anchors)
    await clock.advance(0)
    assert runner.fired == [NOON]
    await clock.advance(180)
    assert runner.fired == [NOON + timedelta(minutes=i) for i in range(4)]
    await runner.stop()


@pytest.mark.anyio
async def test_one_time_schedule_missed_while_down_still_fires_once(clock: VirtualClock) -> None:
    anchors = MemoryAnchors()
    anchors.saved["s"] = NOON - timedelta(days=2)
    for _ in range(2):  # and not again after the next restart
        runner = Runner(clock, "at(2026-11-21T00:00:00)", anchors)
        await clock.advance(60)
        await runner.stop()
        assert anchors.saved["s"] == datetime(2026, 11, 21, tzinfo=UTC)
    assert runner.fired == []


def test_input_knows_its_context() -> None:
    schedule = Schedule(
        name="s", arn="arn:s", function="F", expression="rate(1 day)", timezone="UTC",
        input='{"at": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}',
    )  # fmt: skip
    assert json.loads(schedule_input(schedule, NOON)) == {
        "at": "2026-11-22T12:00:00Z",
        "by": "arn:s",
    }


def test_bad_expression_is_found_before_anything_starts(clock: VirtualClock) -> None:
    schedule = Schedule(
        name="s", arn="a", function="F", expression="rate(x)", timezone="UTC", input=None
    )
    with pytest.raises(TemplateError):
        Scheduler([schedule], clock, MemoryAnchors(), fire=never)


async def never(schedule: Schedule, event: str) -> None:
    pytest.fail(f"{schedule.name} fired {event}")
