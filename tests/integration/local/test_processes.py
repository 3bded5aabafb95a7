"""Life and death: of the cloud, of its environments, of the database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.postgres import EmbeddedPostgres
from tests.integration.local.conftest import (
    SAMPLE,
    Start,
    eventually,
    numbers,
    queue_depths,
    wait_until,
)
from tests.integration.local.test_http import is_running

CHECKOUT = Path(__file__).parents[3]

RUN = """
import asyncio, logging, sys
from pathlib import Path
from infra.local.cloud import LocalCloud

async def main() -> None:
    template, database_url, home = sys.argv[1:]
    cloud = LocalCloud(Path(template), database_url=database_url, home=Path(home), public_port=0)
    serving = asyncio.create_task(cloud.serve())
    while cloud.internal_url.endswith(":0"):
        await asyncio.sleep(0.01)
    print(cloud.url, cloud.internal_url, cloud.token, flush=True)
    await serving

logging.basicConfig(level=logging.INFO)
asyncio.run(main())
"""


class CloudProcess:
    """A cloud in a process of its own, so that it can be killed."""

    def __init__(self, database_url: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(SAMPLE / "template.yaml"), database_url, str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        assert self.process.stdout is not None
        self.url, self.internal_url, token = self.process.stdout.readline().split()
        self.headers = {"x-davinci-local-token": token}

    def put_work(self, detail: str) -> None:
        entry = {
            "Source": "davinci.test", "DetailType": "WorkWanted", "Detail": detail,
            "EventBusName": "davinci-dev",
        }  # fmt: skip
        body = {"Entries": [entry]}
        answer = httpx.post(f"{self.internal_url}/bus", json=body, headers=self.headers)
        answer.raise_for_status()
        assert answer.json()["FailedEntryCount"] == 0

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def cloud_process(queue_database: str, tmp_path: Path) -> Iterator[CloudProcess]:
    cloud = CloudProcess(queue_database, tmp_path)
    yield cloud
    if cloud.process.poll() is None:
        cloud.end(signal.SIGKILL)


def journal(home: Path) -> list[dict[str, Any]]:
    file = home / "journal.ndjson"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_environments_die_with_a_killed_cloud_even_while_busy(
    cloud_process: CloudProcess, tmp_path: Path
) -> None:
    idle = httpx.post(f"{cloud_process.url}/api/do", json={}).json()["pid"]
    cloud_process.put_work('{"n": 1, "hang_receives": 1}')
    wait_until(lambda: len(journal(tmp_path)) == 1)
    busy = journal(tmp_path)[0]["pid"]
    assert is_running(idle)
    assert is_running(busy)
    cloud_process.end(signal.SIGKILL)
    wait_until(lambda: not is_running(idle) and not is_running(busy), within_s=5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_servers_die_with_a_killed_cloud(cloud_process: CloudProcess) -> None:
    pid = httpx.post(f"{cloud_process.url}/v1/stream", json={}).json()["pid"]
    assert is_running(pid)
    cloud_process.end(signal.SIGKILL)
    wait_until(lambda: not is_running(pid), within_s=5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_everything_in_order(cloud_process: CloudProcess, how: signal.Signals) -> None:
    pid = httpx.post(f"{cloud_process.url}/api/do", json={}).json()["pid"]
    assert cloud_process.end(how) == 0
    assert not is_running(pid)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{cloud_process.url}/health")


@pytest.mark.anyio
async def test_acknowledged_events_survive_the_death_of_the_cloud(
    cloud_process: CloudProcess, start: Start, queue_database: str, tmp_path: Path
) -> None:
    # The worker is in the middle of the first batch; the rest is acknowledged, not delivered.
    cloud_process.put_work('{"n": 0, "hang_receives": 1}')
    await eventually(lambda: len(journal(tmp_path)) == 1)
    for n in range(1, 20):
        cloud_process.put_work(f'{{"n": {n}, "hang_receives": {n % 2}}}')
    cloud_process.end(signal.SIGKILL)
    assert queue_depths(queue_database)["Work"] > 0
    running = await start()
    await eventually(lambda: set(numbers(running.journal())) == set(range(20)), within_s=60)


@pytest.mark.anyio
async def test_large_logs_are_moved_aside(start: Start, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "Probe.log").write_bytes(b"old\n" * 5_000_000)
    running = await start()
    await running.do(print="new")
    assert (logs / "Probe.log").read_text().startswith("new\n")
    assert (logs / "Probe.log.1").stat().st_size == 20_000_000


@pytest.mark.anyio
async def test_stop_lets_a_request_finish_and_leaves_no_process(start: Start) -> None:
    running = await start()
    pid = (await running.do("/api/single")).json()["pid"]
    request = asyncio.create_task(running.do("/api/single", sleep=0.5))
    await asyncio.sleep(0.2)
    await running.cloud.stop()
    assert (await request).status_code == 200
    assert not is_running(pid)


@pytest.mark.anyio
async def test_environment_that_hangs_does_not_hold_up_stop_for_long(start: Start) -> None:
    running = await start()
    await running.put("WorkWanted", {"n": 1, "hang_receives": 1})
    [line] = await running.journal_of(1)
    started = time.monotonic()
    await running.cloud.stop()
    assert time.monotonic() - started < 10
    assert not is_running(line["pid"])


def test_cloud_goes_on_after_the_database_was_killed(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")  # not the one of the other tests
    cloud = CloudProcess(server.start(), tmp_path)
    try:
        cloud.put_work('{"n": 1}')
        wait_until(lambda: len(journal(tmp_path)) == 1)
        os.kill(int((server.data_dir / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        server.stop()
        with pytest.raises(httpx.HTTPStatusError):
            cloud.put_work('{"n": 2}')
        server.start()
        wait_until(lambda: is_acknowledged(cloud, '{"n": 2}'))
        wait_until(lambda: 2 in numbers(journal(tmp_path)))
        wait_until(lambda: queue_depths(server.url) == {})
    finally:
        cloud.end(signal.SIGTERM)
        server.stop()


def is_acknowledged(cloud: CloudProcess, detail: str) -> bool:
    """Send an event as the outbox relay does, which comes again until the bus has taken it."""
    try:
        cloud.put_work(detail)
    except httpx.HTTPStatusError:
        return False
    return True
