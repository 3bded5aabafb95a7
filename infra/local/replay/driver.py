"""Drives recorded traffic through the public API, and never loses or doubles what was acknowledged.

A request counts once the system's answer is on disk in the journal, a feedback once the system's
acknowledgement is. A run that is killed anywhere goes on from there: decisions without feedback
get it first (feedback is idempotent), positions without a decision are sent (with the same
idempotency key, so an answer that got lost is not decided twice where the gateway supports it).
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random, SystemRandom
from typing import Any, TypeVar

import httpx
from rich.console import Console

from infra.local.replay.calls import Backoff, Caller, GaveUpError
from infra.local.replay.control import KEY_FILE, ApiKey, ControlError, ControlPlane
from infra.local.replay.display import Display, as_json, make_console, say, tables
from infra.local.replay.journal import Batch, Journal, JournalError, Opened
from infra.local.replay.sender import RefusedError, Sender
from infra.local.replay.settings import ReplaySettings, SettingsError
from infra.local.replay.summary import Summary
from infra.local.replay.traffic import TrafficError, load_traffic

Job = TypeVar("Job")
_REDRAW_S = 0.5
_TRICKLE_LINE_S = 60.0
# How long requests in flight may take to finish after a stop.
_STOP_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a replay ended: the summary of the whole journal, and this batch's progress."""

    summary: Summary
    batch_requests: int
    batch_done: int

    @property
    def is_complete(self) -> bool:
        """Whether every position of the batch is settled."""
        return self.batch_done >= self.batch_requests


def run_replay(settings: ReplaySettings) -> int:
    """Replay until done or told to stop (SIGINT, SIGTERM), and return the exit code.

    0 when the batch is complete (or replay is off), 1 when the system cannot be used, 130 when
    stopped before the batch was complete. Everything acknowledged is in the journal in any case.
    """
    if settings.mode == "off":
        return 0
    console = make_console(stderr=settings.json)
    try:
        outcome = asyncio.run(_replay_until_signal(settings, console))
    except (
        GaveUpError,
        RefusedError,
        ControlError,
        JournalError,
        SettingsError,
        TrafficError,
        OSError,
    ) as error:
        say(console, f"replay: {error}")
        return 1
    return 0 if outcome is not None and outcome.is_complete else 130


async def replay(
    settings: ReplaySettings, *, console: Console, stop: asyncio.Event, rng: Random | None = None
) -> Outcome | None:
    """Send one batch, print its summary, then trickle if the mode is ``on``, until ``stop``.

    Parameters
    ----------
    rng : Random, optional
        Jitter of the back-off; what is sent never depends on it.

    Returns
    -------
    Outcome or None
        None if it was stopped before the system was ready.

    Raises
    ------
    GaveUpError, RefusedError, ControlError, JournalError
        If the system does not answer, or refuses what the replay cannot do without.
    """
    traffic = load_traffic(settings.data_dir)
    journal = Journal(settings.journal_path)
    backoff = Backoff(settings.patience_s, settings.backoff_s, rng or SystemRandom())
    try:
        # Two clients: the administrator's session cookie has no business on the gateway.
        async with _client(settings) as public, _client(settings) as admin:
            gateway = Caller(public, backoff)
            control = ControlPlane(
                Caller(admin, backoff), home=settings.home, password=settings.admin_password
            )
            key = ApiKey(control, gateway, settings.home / KEY_FILE)
            driver = Driver(settings, Sender(traffic, journal, gateway, key), control, key, stop)
            if not await _unless_stopped(driver.prepare(), stop, grace_s=0.0):
                return None
            return await driver.run(console)
    finally:
        await journal.close()


class Driver:
    """One run: reads the journal's past, has what is missing sent, reports."""

    def __init__(
        self,
        settings: ReplaySettings,
        sender: Sender,
        control: ControlPlane,
        key: ApiKey,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._sender = sender
        self._control = control
        self._key = key
        self._stop = stop
        self._batch = Batch(0, 0)
        self._next_at = 0.0

    async def prepare(self) -> None:
        """Wait for the system, register the models, get a key, open the journal."""
        await self._control.wait_until_healthy()
        await self._control.wait_for_upstream(self._settings.provider_url)
        await self._control.register(self._sender.traffic.models, self._settings.provider_url)
        await self._key.ensure()
        self._sender.weights = await self._control.weights()
        await self._open_journal()
        await self._open_batch()

    async def run(self, console: Console) -> Outcome:
        """Send the batch, report, and go on slowly if asked to."""
        with Display(console, self._batch.requests) as display:
            await _unless_stopped(self._send_batch(display), self._stop, grace_s=_STOP_GRACE_S)
        summary = self._sender.fold.summary()
        outcome = Outcome(summary, self._batch.requests, self._batch_done())
        if self._settings.json:
            sys.stdout.write(
                as_json(summary, batch_requests=self._batch.requests, batch_done=self._batch_done())
            )
            sys.stdout.flush()
        else:
            console.print(tables(summary))
        if self._settings.mode == "on" and outcome.is_complete and not self._stop.is_set():
            await _unless_stopped(self._trickle(console), self._stop, grace_s=_STOP_GRACE_S)
        return outcome

    async def _open_journal(self) -> None:
        opened = Opened(secrets.token_hex(8), self._settings.seed, self._sender.traffic.sha256)
        path = self._sender.journal.path
        if not self._sender.journal.records:
            await self._sender.journal.append(opened)
        else:
            first = self._sender.journal.records[0]
            if not isinstance(first, Opened) or first.version != opened.version:
                raise JournalError(f"{path} is of another version; move it away to start afresh")
            if first.traffic_sha256 != opened.traffic_sha256:
                raise JournalError(f"{path} is of other recordings; move it away to start afresh")
            opened = first
        self._sender.run_id, self._sender.seed = opened.run_id, opened.seed

    async def _open_batch(self) -> None:
        """Go on with the batch that was interrupted, or begin one after everything sent."""
        requests, finished = self._settings.requests, self._sender.finished
        first = max(finished, default=-1) + 1
        batches = [record for record in self._sender.journal.records if isinstance(record, Batch)]
        if batches:
            last = batches[-1]
            agreed = range(last.first, last.first + min(last.requests, requests))
            if any(sequence not in finished for sequence in agreed):
                first = last.first
        self._batch = Batch(first, requests)
        if self._batch not in batches[-1:]:
            await self._sender.journal.append(self._batch)

    def _batch_done(self) -> int:
        return sum(sequence in self._sender.finished for sequence in self._batch_range())

    def _batch_range(self) -> range:
        return range(self._batch.first, self._batch.first + self._batch.requests)

    async def _send_batch(self, display: Display) -> None:
        finished = self._sender.finished
        missing = [n for n in range(self._batch_range().stop) if n not in finished]

        async def send() -> None:
            # What is acknowledged comes before anything new.
            await self._side_by_side(self._sender.judge, self._sender.fold.without_feedback())
            await self._side_by_side(self._request_in_time, missing)

        await _beside(send(), self._observe(display))

    async def _request_in_time(self, sequence: int) -> None:
        if self._settings.per_second:
            now = asyncio.get_running_loop().time()
            due_at = max(now, self._next_at)
            self._next_at = due_at + 1.0 / self._settings.per_second
            await asyncio.sleep(due_at - now)
        await self._sender.request(sequence)

    async def _side_by_side(
        self, send: Callable[[Job], Coroutine[Any, Any, None]], jobs: Iterable[Job]
    ) -> None:
        """Do the jobs in order, ``concurrency`` at a time, until told to stop."""
        waiting = iter(jobs)  # shared: each job goes to one worker

        async def work() -> None:
            for job in waiting:
                if self._stop.is_set():
                    return
                await send(job)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._settings.concurrency):
                    workers.create_task(work())
        except ExceptionGroup as failures:
            # They share one system and one disk: the first failure speaks for all.
            raise failures.exceptions[0] from failures

    async def _trickle(self, console: Console) -> None:
        pace = self._settings.trickle_s
        url = self._settings.public_url
        say(console, f"replay: {url} now gets one recorded request every {pace:g} s")

        async def send() -> None:
            for sequence in count(max(self._sender.finished, default=-1) + 1):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pace)
                if self._stop.is_set():
                    return
                await self._sender.request(sequence)

        display = Display(console, self._batch.requests, line_every_s=_TRICKLE_LINE_S, live=False)
        await _beside(send(), self._observe(display))

    async def _observe(self, display: Display) -> None:
        """Show progress and follow the default policy's weights."""
        for tick in count(1):
            await asyncio.sleep(_REDRAW_S)
            display.update(self._glance, self._batch_done())
            if tick * _REDRAW_S % self._settings.weights_every_s < _REDRAW_S:
                with suppress(ControlError):  # the last known ones do
                    self._sender.weights = await self._control.weights()

    def _glance(self) -> Summary:
        return self._sender.fold.summary(with_stages=False)


def _client(settings: ReplaySettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=settings.public_url,
        timeout=httpx.Timeout(60.0, connect=5.0),
        limits=httpx.Limits(max_connections=settings.concurrency + 2),
        trust_env=False,
    )


async def _replay_until_signal(settings: ReplaySettings, console: Console) -> Outcome | None:
    stop = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    return await replay(settings, console=console, stop=stop)


async def _unless_stopped(
    work: Coroutine[Any, Any, None], stop: asyncio.Event, *, grace_s: float
) -> bool:
    """Do the work; cut it off ``grace_s`` after a stop. Return whether it came to its end."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_s)
    finally:
        await _cancelled(task, stopping)
    if task.cancelled():
        return False
    task.result()
    return True


async def _beside(work: Coroutine[Any, Any, None], watch: Coroutine[Any, Any, None]) -> None:
    """Do the work with a watcher at its side that ends with it; either failure ends both."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(working, watching)
    for task in (working, watching):
        if not task.cancelled():
            task.result()


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
