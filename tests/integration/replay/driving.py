"""Runs of the driver, and what its journal says of them."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from infra.local.replay.driver import Outcome, replay
from infra.local.replay.journal import Decided, Judged, read_records
from infra.local.replay.settings import ReplaySettings

from .fake_system import FakeSystem, no_fault

CHAT, FEEDBACK = "POST /v1/chat/completions", "POST /api/learning/feedback"


def run(
    settings: ReplaySettings, *, stop_at: int | None = None, system: FakeSystem | None = None
) -> Outcome:
    """Replay; with ``stop_at``, ask it to stop once the system has made so many decisions."""

    async def once() -> Outcome | None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def watch(_route: str, _asked: int) -> str | None:
            if system is not None and stop_at and len(system.decisions) >= stop_at:
                loop.call_soon_threadsafe(stop.set)
            return None

        if system is not None:
            system.fault = watch
        try:
            return await replay(settings, console=Console(file=io.StringIO()), stop=stop)
        finally:
            if system is not None:
                system.fault = no_fault

    outcome = asyncio.run(once())
    assert outcome is not None
    return outcome


def decided(settings: ReplaySettings) -> list[Decided]:
    return [row for row in read_records(settings.journal_path) if isinstance(row, Decided)]


def judged(settings: ReplaySettings) -> list[Judged]:
    return [row for row in read_records(settings.journal_path) if isinstance(row, Judged)]


def assert_exactly_once(settings: ReplaySettings, system: FakeSystem, requests: int) -> None:
    """Every position was acknowledged once, and the system holds what was acknowledged."""
    made = decided(settings)
    assert sorted(row.sequence for row in made) == list(range(requests))
    ids = {row.decision_id for row in made}
    assert len(ids) == requests
    assert ids <= system.decisions.keys()
    assert sorted(row.decision_id for row in judged(settings)) == sorted(ids)
    assert all(system.feedback[name, "replay"] == 1 for name in ids)
