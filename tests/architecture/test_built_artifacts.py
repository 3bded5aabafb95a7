"""What ``sam build`` makes, imported the way Lambda does: each function sees itself and the layer.

Lambda's search path is /var/task (the function) before /opt/python (the layer).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.template import load_system

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".aws-sam" / "build"
LAYER_LIMIT_BYTES = 80_000_000

pytestmark = pytest.mark.sam


def _functions(*, serves_http: bool = False) -> dict[str, str]:
    system = load_system(ROOT / "template.yaml", parameters={"DatabaseUrl": "unused"})
    functions = system.functions.items()
    return {name: f.handler for name, f in functions if f.serves_http == serves_http}


@pytest.fixture(scope="session")
def python313() -> str:
    finder = ROOT / "infra" / "local" / "find-python.sh"
    found = subprocess.run([str(finder), "3.13"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("sam build needs Lambda's python3.13: install it (pyenv install 3.13)")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def build(python313: str) -> Path:
    made = subprocess.run(["make", "build"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return BUILD


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_status(port: int, server: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not get ready")


def _python_on_lambda(python: str, build: Path, function: str, code: str) -> Any:
    environment = {
        "PYTHONPATH": f"{build / function}:{build / 'SharedLayer' / 'python'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": "postgresql+pg8000://nobody@/nothing",
    }
    return subprocess.run(
        [python, "-S", "-W", "error", "-c", code],
        env=environment, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("function", sorted(_functions()))
def test_every_handler_imports_from_the_built_artifacts(
    python313: str, build: Path, function: str
) -> None:
    module, _, name = _functions()[function].rpartition(".")
    done = _python_on_lambda(
        python313, build, function, f"import {module} as m; assert callable(m.{name})"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("function", sorted(_functions(serves_http=True)))
def test_every_server_starts_from_the_built_artifacts(
    python313: str, build: Path, function: str
) -> None:
    """As the Web Adapter starts it: the command, a port, questions until there is an answer."""
    port = _free_port()
    environment = {
        "AWS_LWA_PORT": str(port),
        "DATABASE_URL": "postgresql+pg8000://nobody@/nothing",
        "LAMBDA_TASK_ROOT": str(build / function),
        "PATH": f"{Path(python313).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{build / function}:{build / 'SharedLayer' / 'python'}",
    }
    command = build / function / _functions(serves_http=True)[function]
    with subprocess.Popen([command], cwd=build / function, env=environment) as server:
        try:
            assert _first_status(port, server) == 404
        finally:
            server.terminate()
    assert server.returncode == -signal.SIGTERM


def test_a_built_domain_cannot_import_another(python313: str, build: Path) -> None:
    done = _python_on_lambda(python313, build, "NeuralFunction", "import functions.auth")
    assert "ModuleNotFoundError: No module named 'functions.auth'" in done.stderr


def test_the_paths_that_import_late_are_in_the_layer(python313: str, build: Path) -> None:
    """Heavy parts are imported where used; they must be there all the same."""
    names = "jwt, argon2, certifi, numpy, pg8000.native, cryptography.hazmat.primitives"
    code = f"import {names}"
    done = _python_on_lambda(python313, build, "AuthFunction", code)
    assert done.returncode == 0, done.stderr


def test_the_layer_stays_lean(build: Path) -> None:
    files = (build / "SharedLayer").rglob("*")
    size = sum(path.stat().st_size for path in files if path.is_file())
    assert size <= LAYER_LIMIT_BYTES, f"{size / 1e6:.1f} MB"
