"""What the gateway's benchmark starts: a loopback model, and one worker of the container host on a
PostgreSQL that flushes every commit to disk. Also what a process costs while it runs.
"""

from __future__ import annotations

import http.client
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from functions.auth.service import ensure_user
from functions.policies.service import ensure_presets
from infra.bench import scene
from infra.bench.cpu import cpu_seconds_below
from infra.bench.progress import say
from infra.local.home import ADMIN_EMAIL, Home
from infra.local.migrate import upgrade
from infra.local.postgres import EmbeddedPostgres
from infra.local.replay.control import model_body
from infra.local.replay.traffic import LEVEL_OF_TASK, Traffic
from shared.db.tables import learner_states

CHECKOUT = Path(__file__).resolve().parents[2]
# The rivals that it is measured beside have none either.
_NO_LIMITS = {f"DAVINCI_RATE_LIMIT_{whose}_PER_MINUTE": "0" for whose in ("GLOBAL", "CALLER")}
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 60.0, 20.0
_PASSWORD = "for this benchmark only"  # noqa: S105  # of a database that lives for minutes


@dataclass(frozen=True, slots=True)
class Host:
    """A running gateway. ``database_pid`` None: it has no database."""

    port: int
    key: str
    model: str
    pid: int
    database_pid: int | None = None
    database_url: str = ""

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time spent so far by the worker and by its database."""
        spent = {"worker": sum(cpu_seconds_below(self.pid).values())}
        if self.database_pid is not None:
            spent["postgres"] = sum(cpu_seconds_below(self.database_pid).values())
        return spent

    def memory_mb(self) -> float:
        """Return the worker's resident memory in MiB, its own child processes included."""
        pids = [self.pid, *_children(self.pid)]
        return round(sum(_status_kb(pid, "VmRSS") for pid in pids) / 1024, 1)


@contextmanager
def loopback_model() -> Iterator[int]:
    """Run the model that answers at once in a process of its own; yield its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.bench.gateway_upstream"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:  # leaving it closes the process's standard input, which ends it
        yield int((process.stdout or sys.stdin.buffer).readline())


@contextmanager
def container_host(
    traffic: Traffic, upstream_url: str, settings: Mapping[str, str] | None = None,
    *, durable: bool = True, key: Mapping[str, Any] | None = None,
    models: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Host]:  # fmt: skip
    """Run one worker: every recorded model at ``upstream_url``, a trained learner, an API key.

    ``settings`` are further environment variables, ``key`` further members of the key's request,
    ``models`` further models at the same place.
    """
    with tempfile.TemporaryDirectory(prefix="davinci-bench-") as folder:
        Path(folder).chmod(0o755)  # the database's user must be able to enter
        home = Home(Path(folder))
        home.ensure_signing_keys()
        with EmbeddedPostgres(home.postgres, durable=durable) as server:
            upgrade(server.url)
            _prepare(server.url, traffic)
            port = free_port()
            environment = _environment(home, server.url) | dict(settings or {})
            command = _uvicorn(port)
            with running(command, environment, home.path / "host.log", port, "/health") as pid:
                recorded = [model_body(model, upstream_url) for model in traffic.models]
                api_key = _furnish(port, [*recorded, *models], upstream_url, key or {})
                database_pid = int((home.postgres / "postmaster.pid").read_text().split()[0])
                yield Host(port, api_key, "auto", pid, database_pid, server.url)


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, port: int, health: str,
    timeout_s: float = _START_TIMEOUT_S,
) -> Iterator[int]:  # fmt: skip
    """Run a server until the end of the block; yield its process id once it answers ``health``.

    Raises
    ------
    RuntimeError
        With the end of its log, when it does not come up in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_until_healthy(process, port, health, log, timeout_s)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _uvicorn(port: int) -> list[str]:
    return [
        sys.executable, "-m", "uvicorn", "infra.local.asgi:app", "--port", str(port),
        "--http", "httptools", "--log-level", "warning", "--no-access-log", "--no-server-header",
    ]  # fmt: skip


def _environment(home: Home, database_url: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DAVINCI_", "DATABASE_"))
    }
    return kept | {
        "DATABASE_URL": database_url,
        "DAVINCI_HOME": str(home.path),
        "DAVINCI_SIGNING_KEYS": f"file:{home.signing_keys}",
        "DAVINCI_DATABASE_CONNECTIONS": "8",
        "MALLOC_ARENA_MAX": "2",  # as infra.local.asgi advises
        "DAVINCI_LOG_LEVEL": "WARNING",
        **_NO_LIMITS,
    }


def _prepare(database_url: str, traffic: Traffic) -> None:
    """Store what an operator's first day leaves: an administrator, policies, a trained learner."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    state = scene.trained_learner(traffic)
    with engine.begin() as connection:
        ensure_user(connection, ADMIN_EMAIL, _PASSWORD, role="admin")
        ensure_presets(connection, dict(LEVEL_OF_TASK))
        connection.execute(
            sa.insert(learner_states).values(
                version=1, state=state.to_json(), updates=state.n_updates
            )
        )
    engine.dispose()


def _furnish(
    port: int, models: Sequence[Mapping[str, Any]], upstream_url: str, key: Mapping[str, Any]
) -> str:
    """Register the models over HTTP, as an operator does; return a new API key's secret."""
    login = {"email": ADMIN_EMAIL, "password": _PASSWORD}
    token = post(port, "/api/auth/login", login)["access_token"]
    for model in models:
        body = {**model, "base_url": upstream_url, "latency_source": "measured"}
        post(port, "/api/models", body, token)
    wanted = {"name": "bench", "scopes": ["chat", "read"], **key}
    return str(post(port, "/api/keys", wanted, token)["secret"])


def post(port: int, path: str, body: Mapping[str, Any], token: str | None = None) -> Any:
    """Send one request and return its document.

    Raises
    ------
    RuntimeError
        With what was answered, unless it is a success.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    if answer.status not in {200, 201}:
        raise RuntimeError(f"POST {path}: {answer.status} {content[:500]}")
    return json.loads(content)


def _wait_until_healthy(
    process: subprocess.Popen[bytes], port: int, path: str, log: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    say("it did not start")
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            direct = [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *_children(child)]
    return found


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
