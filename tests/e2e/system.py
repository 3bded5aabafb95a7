"""The whole system as a person starts it: ``davinci run`` in a process group of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
PASSWORD = "a password for tests only"
_START_TIMEOUT_S = 120.0


def free_ports() -> int:
    """Return a port that is free, and whose successor is too (the replay upstream)."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with socket.socket() as second:
                try:
                    second.bind(("127.0.0.1", port + 1))
                except OSError:
                    continue
                return port


@dataclass
class System:
    """One start of ``davinci run`` on ``home``."""

    home: Path
    port: int
    requests: int
    mode: str = "once"
    log: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = self.home / "run.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def journal(self) -> Path:
        return self.home / "replay" / "journal.jsonl"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.cli", "run"],
                cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.wait(self._is_healthy, "a healthy /health")

    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DAVINCI_", "DATABASE_"))},
            "DAVINCI_HOME": str(self.home),
            "DAVINCI_PORT": str(self.port),
            "DAVINCI_ADMIN_PASSWORD": PASSWORD,
            "DAVINCI_REPLAY": self.mode,
            "DAVINCI_REPLAY_REQUESTS": str(self.requests),
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another ``davinci`` command beside it."""
        return subprocess.run(
            [sys.executable, "-m", "infra.local.cli", *arguments],
            cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def acknowledged(self) -> int:
        """Return how many lines the driver's journal holds."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait(
        self, condition: Callable[[], bool], what: str, timeout_s: float = _START_TIMEOUT_S
    ) -> None:
        """Wait until ``condition`` holds; fail with the log's tail if it dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            died = self.process is not None and self.process.poll() is not None
            if died or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-4000:]
                raise AssertionError(f"{'died' if died else 'no time'} waiting for {what}:\n{tail}")
            time.sleep(0.1)

    def wait_for_replay(self) -> None:
        self.wait(lambda: "Utility over time" in self.log.read_text(errors="replace"), "the replay")

    def kill_group(self) -> None:
        """kill -9 of the whole process group, as when the machine loses its mind."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> int:
        """Ctrl-C; return the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=60)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
