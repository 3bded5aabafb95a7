"""Sustained decisions: ``POST /api/neural/route`` through a whole running ``davinci run``.

HTTP -> gateway -> event -> environment -> PostgreSQL -> HTTP, while relay and projections follow.
First closed-loop at rising concurrency, to find what the machine can do; then open-loop (random
arrivals) at shares of that, and the highest share that keeps the targets is the result.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from infra.bench import scene
from infra.bench.cpu import cpu_seconds_below, per_call_ms
from infra.bench.progress import say
from infra.bench.report import Row
from infra.local.home import Home
from infra.local.postgres import EmbeddedPostgres
from infra.local.replay.traffic import load_traffic

CHECKOUT = Path(__file__).resolve().parents[2]
TARGET_RPM, TARGET_ERRORS, TARGET_P99_MS = 10_000, 0.001, 100.0
_CONCURRENCIES = (1, 2, 4, 8, 16)
_RAMP_S, _WARMUP_S = 4.0, 2.0
_SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
_CONNECTIONS = 64
_START_TIMEOUT_S = 60.0
# Events that what follows a decision has not got to yet.
_BEHIND = {
    "relay": "count(*) FROM outbox WHERE published_at IS NULL",
    "projections": "(SELECT value FROM event_sequence) - min(watermark) FROM projections",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--seconds", type=float, default=20.0, help="per level (default 20)")
    parser.add_argument("--rate", type=float, help="requests a second, instead of searching")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Start a system, load it, and check that all that was acknowledged is stored."""
    traffic = load_traffic()
    with tempfile.TemporaryDirectory(prefix="davinci-bench-") as folder:
        Path(folder).chmod(0o755)  # the database's user must be able to enter
        with _system(Path(folder)) as (port, pid):
            database_url = EmbeddedPostgres(Home(Path(folder)).postgres).url
            key = scene.furnish(database_url, traffic)
            client = _Client(port, key, [b.decode() for b in scene.route_bodies(traffic, 500)])
            client.send(connections=4, seconds=2.0)  # every environment is up
            ramp = [] if given.rate else _ramp(client)
            before, n_before = cpu_seconds_below(pid), client.acknowledged
            level = _best_level(client, given, ramp)
            spent = per_call_ms(before, cpu_seconds_below(pid), client.acknowledged - n_before)
            kept = _check_log(database_url, client.acknowledged)
    return {
        **level,
        "mode": "open-loop, Poisson arrivals",
        "cpu_ms_per_decision": spent,
        "ramp": ramp,
        **kept,
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the lines of the README's table."""
    is_met = (
        result["requests_per_minute"] >= TARGET_RPM
        and result["error_rate"] < TARGET_ERRORS
        and result["p99_ms"] <= TARGET_P99_MS
    )
    return [
        Row(
            "Sustained decisions through the local cloud, open-loop, client on the same cores",
            f"{result['requests_per_minute']:,} per minute, {result['error_rate']:.2%} errors, "
            f"p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms",
            ">= 10,000 per minute, < 0.1 % errors, p99 <= 100 ms",
            is_met,
        )
    ]


class _Client:
    """Orders to client processes, and how many answers of 200 all of them have had."""

    def __init__(self, port: int, key: str, bodies: list[str]) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._order = {
            "port": port, "path": "/api/neural/route", "headers": headers, "bodies": bodies,
        }  # fmt: skip
        self.acknowledged = 0

    def send(
        self, *, connections: int, seconds: float, rate: float | None = None, warmup_s: float = 0.0
    ) -> dict[str, Any]:
        order = self._order | {
            "connections": connections, "seconds": seconds, "rate": rate, "warmup_s": warmup_s,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "infra.bench.load_client"],
            input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT,
        )  # fmt: skip
        seen: dict[str, Any] = json.loads(done.stdout)
        self.acknowledged += seen["acknowledged"]
        return seen


def _ramp(client: _Client) -> list[dict[str, Any]]:
    found = []
    for connections in _CONCURRENCIES:
        seen = client.send(connections=connections, seconds=_RAMP_S, warmup_s=1.0)
        say(f"closed-loop, {connections} at a time: {_in_words(seen)}")
        found.append({"concurrency": connections, **seen})
    return found


def _best_level(
    client: _Client, given: argparse.Namespace, ramp: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the first level that keeps the targets, else the lowest that was tried."""
    if given.rate:
        rates = [given.rate]
    else:
        capacity = max(level["requests_per_minute"] for level in ramp) / 60
        rates = [share * capacity for share in _SHARES]
    level: dict[str, Any] = {}
    for rate in rates:
        level = client.send(
            connections=_CONNECTIONS, seconds=given.seconds, rate=rate, warmup_s=_WARMUP_S
        )
        level["offered_per_minute"] = round(rate * 60)
        say(f"open-loop, {rate * 60:,.0f} per minute offered: {_in_words(level)}")
        if level["error_rate"] < TARGET_ERRORS and level["p99_ms"] <= TARGET_P99_MS:
            break
        # What an overloaded level left behind is worked off before the next one.
        client.send(connections=1, seconds=1.0)
    return level


def _check_log(database_url: str, acknowledged: int) -> dict[str, Any]:
    """Return how many decisions are stored and how far relay and folds are behind.

    Raises
    ------
    RuntimeError
        If a decision was acknowledged and is not there.
    """
    engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        behind = {
            name: connection.scalar(sa.text(f"SELECT {sql}")) for name, sql in _BEHIND.items()
        }
        stored = connection.scalar(sa.text("SELECT count(*) FROM decisions"))
    engine.dispose()
    if stored < acknowledged:
        raise RuntimeError(f"{acknowledged} decisions were acknowledged, {stored} are stored")
    return {"acknowledged": acknowledged, "stored": stored, "behind_events": behind}


@contextmanager
def _system(home: Path) -> Iterator[tuple[int, int]]:
    """Run ``davinci run`` without replayed traffic on a free port; yield port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {name: v for name, v in os.environ.items() if name != "DATABASE_URL"} | {
        "DAVINCI_HOME": str(home),
        "DAVINCI_PORT": str(port),
        "DAVINCI_REPLAY": "off",
        **scene.WIDE_LIMITS,
    }
    say("davinci run, with nothing in it")
    with (home / "run.log").open("wb") as log:
        system = subprocess.Popen(
            [sys.executable, "-m", "infra.local.cli", "run"],
            cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_until_healthy(system, port, home / "run.log")
        yield port, system.pid
    finally:
        system.send_signal(signal.SIGTERM)
        try:
            system.wait(60)
        except subprocess.TimeoutExpired:
            system.kill()
            system.wait()


def _wait_until_healthy(system: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and system.poll() is None:
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the system did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _in_words(seen: dict[str, Any]) -> str:
    return (
        f"{seen['requests_per_minute']:,} per minute, p99 {seen['p99_ms']:.0f} ms, "
        f"{seen['error_rate']:.2%} errors"
    )
