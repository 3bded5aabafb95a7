"""EventBridge Scheduler: ``rate``, ``cron`` and ``at`` on a clock that tests can drive.

Each schedule remembers an anchor, the instant up to which it is done. After downtime the runs
that were missed become one run, at once. Left out: flexible windows, start and end dates, and
``L``, ``W`` and ``#`` in cron expressions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.local.clock import Clock
from infra.local.database import Database
from infra.local.intrinsics import ACCOUNT_ID, REGION, TemplateError
from infra.local.system import Schedule

# A suspended laptop stops the loop's clock but not the wall's: look again every minute.
_LONGEST_SLEEP_S = 60.0
_RETRY_S = 1.0
_SEARCH_DAYS = 366 * 8  # a leap day that falls on a weekday
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_EXPRESSION = re.compile(r"(rate|cron|at)\((.+)\)")
_RATE = re.compile(r"([1-9]\d*) (minute|hour|day)s?")
_log = logging.getLogger(__name__)


class Trigger(Protocol):
    """When a schedule runs."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first run later than ``instant``, or None when there is no more."""
        ...


@dataclass(frozen=True)
class Rate:
    period: timedelta

    def next_after(self, instant: datetime) -> datetime | None:
        return instant + self.period


@dataclass(frozen=True)
class At:
    when: datetime

    def next_after(self, instant: datetime) -> datetime | None:
        return self.when if self.when > instant else None


@dataclass(frozen=True)
class Cron:
    """Six fields: minutes, hours, day of month, month, day of week (SUN is 1), year."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]
    zone: ZoneInfo

    def next_after(self, instant: datetime) -> datetime | None:
        local = instant.astimezone(self.zone)
        for offset in range(_SEARCH_DAYS):
            day = local.date() + timedelta(days=offset)
            if not self._includes(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    run = datetime.combine(day, time(hour, minute), self.zone).astimezone(UTC)
                    if run > instant:
                        return run
        return None

    def _includes(self, day: date) -> bool:
        return (
            day.day in self.days
            and day.month in self.months
            and day.isoweekday() % 7 + 1 in self.weekdays
            and day.year in self.years
        )


def parse_expression(expression: str, timezone: str = "UTC") -> Trigger:
    """Return the trigger of a schedule expression.

    Raises
    ------
    TemplateError
        If AWS would refuse the expression, or it uses what is left out here.
    """
    try:
        return _trigger(expression, ZoneInfo(timezone))
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise TemplateError(f"schedule {expression!r}: {error}") from error


def _trigger(expression: str, zone: ZoneInfo) -> Trigger:
    found = _EXPRESSION.fullmatch(expression.strip())
    if found is None:
        raise ValueError("it is none of rate(), cron() and at()")
    kind, argument = found.groups()
    if kind == "at":
        return At(datetime.fromisoformat(argument).replace(tzinfo=zone).astimezone(UTC))
    return _rate(argument) if kind == "rate" else _cron(argument, zone)


def _rate(argument: str) -> Rate:
    found = _RATE.fullmatch(argument)
    if found is None:
        raise ValueError("a rate is a number and minutes, hours or days")
    return Rate(timedelta(**{f"{found[2]}s": int(found[1])}))


def _cron(argument: str, zone: ZoneInfo) -> Cron:
    fields = argument.split()
    if len(fields) != 6:
        raise ValueError("cron has six fields")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError("one of day of month and day of week is ?, not both")
    return Cron(
        _field(fields[0], 0, 59),
        _field(fields[1], 0, 23),
        _field(fields[2], 1, 31),
        _field(fields[3], 1, 12, _MONTHS),
        _field(fields[4], 1, 7, _WEEKDAYS),
        _field(fields[5], 1970, 2199),
        zone,
    )


def _field(text: str, lowest: int, highest: int, names: list[str] | None = None) -> frozenset[int]:
    def number(word: str) -> int:
        if names and word.upper() in names:
            return names.index(word.upper()) + 1
        value = int(word)
        if not lowest <= value <= highest:
            raise ValueError(f"{value} is not in {lowest} to {highest}")
        return value

    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in {"*", "?"}:
            start, end = lowest, highest
        else:
            start = number(first)
            end = number(last) if last else highest if step else start
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)


class Anchors(Protocol):
    """Remembers up to when each schedule is done."""

    async def load(self, name: str) -> datetime | None: ...

    async def save(self, name: str, anchor: datetime) -> None: ...


class StoredAnchors:
    """Anchors in the database, so that a daily job runs on a laptop that sleeps at night."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, name: str) -> datetime | None:
        sql = "SELECT anchor_at FROM localcloud.schedules WHERE name = :name"
        rows = await self._database.run(sql, name=name)
        return rows[0].anchor_at if rows else None

    async def save(self, name: str, anchor: datetime) -> None:
        await self._database.run(
            "INSERT INTO localcloud.schedules (name, anchor_at) VALUES (:name, :anchor) "
            "ON CONFLICT (name) DO UPDATE SET anchor_at = excluded.anchor_at",
            name=name,
            anchor=anchor,
        )


class Scheduler:
    """Fires schedules: at least once each, and never twice for the same missed stretch."""

    def __init__(
        self,
        schedules: Iterable[Schedule],
        clock: Clock,
        anchors: Anchors,
        fire: Callable[[Schedule, str], Awaitable[None]],
    ) -> None:
        self._triggers = [(s, parse_expression(s.expression, s.timezone)) for s in schedules]
        self._clock = clock
        self._anchors = anchors
        self._fire = fire

    async def run(self) -> None:
        """Fire every schedule until none has another run."""
        await asyncio.gather(*(self._run_one(*scheduled) for scheduled in self._triggers))

    async def _run_one(self, schedule: Schedule, trigger: Trigger) -> None:
        while True:
            try:
                if not await self._step(schedule, trigger):
                    return
            except Exception as error:
                _log.error("cannot run schedule %s, trying again: %s", schedule.name, error)
                await asyncio.sleep(_RETRY_S)

    async def _step(self, schedule: Schedule, trigger: Trigger) -> bool:
        """Wait for the next run and fire; return whether there may be another."""
        anchor = await self._anchors.load(schedule.name)
        if anchor is None:  # first start: as if created now
            anchor = self._clock.now()
            await self._anchors.save(schedule.name, anchor)
        due = trigger.next_after(anchor)
        if due is None:
            return False
        while (wait_s := (due - self._clock.now()).total_seconds()) > 0:
            await self._clock.sleep(min(wait_s, _LONGEST_SLEEP_S))
        await self._fire(schedule, schedule_input(schedule, due))
        now = self._clock.now()
        following = trigger.next_after(due)
        missed_more = following is not None and following <= now
        await self._anchors.save(schedule.name, now if missed_more else due)
        return True


def schedule_input(schedule: Schedule, due: datetime) -> str:
    """Return the JSON that the function gets, with Scheduler's context attributes filled in."""
    at = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    run_id = str(uuid.uuid4())
    if schedule.input is None:
        event = {
            "version": "0", "id": run_id, "detail-type": "Scheduled Event",
            "source": "aws.scheduler", "account": ACCOUNT_ID, "time": at, "region": REGION,
            "resources": [schedule.arn], "detail": "{}",
        }  # fmt: skip
        return json.dumps(event)
    return (
        schedule.input.replace("<aws.scheduler.scheduled-time>", at)
        .replace("<aws.scheduler.schedule-arn>", schedule.arn)
        .replace("<aws.scheduler.execution-id>", run_id)
        .replace("<aws.scheduler.attempt-number>", "1")
    )
