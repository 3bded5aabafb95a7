"""The local cloud, running the sample system beside this file."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from infra.local.clock import VirtualClock
from infra.local.cloud import LocalCloud

SAMPLE = Path(__file__).parent / "sample"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TLS = ssl.create_default_context()  # unused, but slow to make for each client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def queue_database(database_url: str) -> str:
    """URL of the database, with no queues left from another test."""
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA IF EXISTS localcloud CASCADE"))
    engine.dispose()
    return database_url


class RunningCloud:
    """A started cloud and the ways to talk to it."""

    def __init__(self, cloud: LocalCloud, home: Path, stack: AsyncExitStack) -> None:
        self.cloud = cloud
        self.home = home
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=30, verify=TLS)
        token = {"x-davinci-local-token": cloud.token}
        self.internal = httpx.AsyncClient(
            base_url=cloud.internal_url, headers=token, timeout=30, verify=TLS
        )
        stack.push_async_callback(self.http.aclose)
        stack.push_async_callback(self.internal.aclose)

    async def do(self, path: str = "/api/do", **command: Any) -> httpx.Response:
        """Ask the probe function to do something."""
        return await self.http.post(path, json=command)

    async def put(self, detail_type: str, *details: dict[str, Any]) -> dict[str, Any]:
        """Put one event per detail on the bus."""
        entries = [
            {
                "Source": "davinci.test",
                "DetailType": detail_type,
                "Detail": json.dumps(detail),
                "EventBusName": "davinci-dev",
            }
            for detail in details
        ]
        answer = await self.internal.post("/bus", json={"Entries": entries})
        assert answer.status_code == 200
        result: dict[str, Any] = answer.json()
        assert result["FailedEntryCount"] == 0
        return result

    def journal(self) -> list[dict[str, Any]]:
        """What the worker wrote down, in order."""
        journal = self.home / "journal.ndjson"
        return (
            [json.loads(line) for line in journal.read_text().splitlines()]
            if journal.exists()
            else []
        )

    async def journal_of(self, n_lines: int, within_s: float = 20) -> list[dict[str, Any]]:
        """The journal, once it has ``n_lines``."""
        await eventually(lambda: len(self.journal()) >= n_lines, within_s)
        return self.journal()


Start = Callable[..., Awaitable[RunningCloud]]


@pytest.fixture
async def start(queue_database: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a cloud; it is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start_cloud(**options: Any) -> RunningCloud:
            defaults: dict[str, Any] = {
                "database_url": queue_database,
                "home": tmp_path,
                "public_port": 0,
            }
            options = defaults | options
            cloud = LocalCloud(SAMPLE / "template.yaml", **options)
            stack.push_async_callback(cloud.stop)
            await cloud.start()
            return RunningCloud(cloud, options["home"], stack)

        yield start_cloud


@pytest.fixture
def dashboard(tmp_path: Path) -> Path:
    """A built dashboard of one page."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("<title>sample</title>")
    return folder


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOON)


async def eventually(holds: Callable[[], bool], within_s: float = 20) -> None:
    """Wait in real time until ``holds()``."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


def wait_until(holds: Callable[[], bool], within_s: float = 20) -> None:
    """``eventually`` for tests without a loop."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def rows(database_url: str, sql: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(database_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]
    finally:
        engine.dispose()


def queue_depths(database_url: str) -> dict[str, int]:
    """How many messages each queue holds, due or not."""
    found = rows(database_url, "SELECT queue, count(*) FROM localcloud.messages GROUP BY queue")
    return dict(found)


def numbers(journal: Iterable[dict[str, Any]]) -> list[int]:
    return [line["detail"]["n"] for line in journal]
