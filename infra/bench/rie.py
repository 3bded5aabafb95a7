"""Lambda's own runtime on this machine: the interface emulator and the interface client.

The emulator (inside aws-sam-cli's wheel) starts ``python -m awslambdaric`` at the first event,
as Lambda starts an environment, and reports how long INIT took.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

_INIT_REPORT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
_INVOKE = "/2015-03-31/functions/function/invocations"
_START_TIMEOUT_S, _INVOKE_TIMEOUT_S = 10.0, 60.0
# Lambda's search path ends in the runtime's own packages; of these only the client is measured.
_CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


class RuntimeMissingError(RuntimeError):
    """A part of Lambda's runtime is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One cold start: INIT as reported, and the wall time until the first answer."""

    init_ms: float
    first_ms: float
    answer: bytes


class LambdaRuntime:
    """Runs handlers as Lambda does, each in a fresh process.

    Parameters
    ----------
    sam_environment : Path
        Where aws-sam-cli is installed.
    python : Path
        An interpreter of the functions' runtime.
    folder : Path
        A scratch folder.

    Raises
    ------
    RuntimeMissingError
    """

    def __init__(self, sam_environment: Path, python: Path, folder: Path) -> None:
        self._emulator = _find_emulator(sam_environment)
        self._python = python
        self._client = folder / "runtime"
        self._log = folder / "emulator.log"
        _link_client(self._client)
        self._check_client()

    def cold_start(
        self, handler: str, search: tuple[Path, ...], variables: Mapping[str, str], event: bytes
    ) -> ColdStart:
        """Start an environment with one event; ``search[0]`` is the function's own folder.

        Raises
        ------
        RuntimeError
            If it does not initialise, with the emulator's log.
        """
        ports = _free_port(), _free_port()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LAMBDA_TASK_ROOT": str(search[0]),
            "PYTHONPATH": os.pathsep.join(map(str, (*search, self._client))),
            # /var/task and /opt are read-only on Lambda.
            "PYTHONDONTWRITEBYTECODE": "1",
            "TZ": "UTC",
            **variables,
        }
        command = [
            str(self._emulator),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{ports[0]}"),
            *("--runtime-api-address", f"127.0.0.1:{ports[1]}"),
            # -S: the machine's own site-packages are no part of the measurement.
            *(str(self._python), "-S", "-m", "awslambdaric", handler),
        ]
        with self._log.open("wb") as log:
            emulator = subprocess.Popen(
                command, cwd=search[0], env=environment, stdout=log, stderr=log
            )
            try:
                _wait_for_port(ports[0])
                started_at = time.perf_counter()
                answer = _invoke(ports[0], event)
                first_ms = (time.perf_counter() - started_at) * 1000
            finally:
                emulator.terminate()
                emulator.wait(_START_TIMEOUT_S)
        text = self._log.read_text(encoding="utf-8", errors="replace")
        report = _INIT_REPORT.search(text)
        if report is None or "INIT RTDONE(status: success)" not in text:
            raise RuntimeError(f"{handler} did not initialise:\n{text[-3000:]}")
        return ColdStart(float(report[1]), first_ms, answer)

    def _check_client(self) -> None:
        probe = subprocess.run(
            [str(self._python), "-S", "-c", "import awslambdaric.bootstrap"],
            env={"PYTHONPATH": str(self._client)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if probe.returncode != 0:
            raise RuntimeMissingError(
                "the Lambda runtime interface client of .venv does not load in "
                f"{self._python}: make .venv with the functions' Python\n{probe.stderr[-500:]}"
            )


def _find_emulator(sam_environment: Path) -> Path:
    kind = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    pattern = f"lib/python3.*/site-packages/samcli/local/rapid/aws-lambda-rie-{kind}"
    for found in sam_environment.glob(pattern):
        found.chmod(found.stat().st_mode | 0o111)
        return found
    raise RuntimeMissingError(f"no emulator in {sam_environment}: run 'make .tools/sam/.stamp'")


def _link_client(folder: Path) -> None:
    """Make a folder that holds the runtime interface client and nothing else of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _CLIENT:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeMissingError(f"{name} is not installed: run 'make setup'")
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError("the runtime interface emulator did not start")


def _invoke(port: int, event: bytes) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=_INVOKE_TIMEOUT_S)
    try:
        connection.request("POST", _INVOKE, event)
        return connection.getresponse().read()
    except (OSError, HTTPException) as error:
        raise RuntimeError(f"the runtime interface emulator did not answer: {error}") from error
    finally:
        connection.close()
