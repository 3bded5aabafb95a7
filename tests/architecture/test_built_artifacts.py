"""What ``sam build`` makes, imported the way Lambda does: each function sees itself and the layer.

Lambda's search path is /var/task (the function) before /opt/python (the layer).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local.template import load_system

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".aws-sam" / "build"
LAYER_LIMIT_BYTES = 80_000_000

pytestmark = pytest.mark.sam


def _functions() -> dict[str, str]:
    system = load_system(ROOT / "template.yaml", parameters={"DatabaseUrl": "unused"})
    return {name: function.handler for name, function in system.functions.items()}


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


def test_a_built_domain_cannot_import_another(python313: str, build: Path) -> None:
    done = _python_on_lambda(python313, build, "NeuralFunction", "import functions.auth")
    assert "ModuleNotFoundError: No module named 'functions.auth'" in done.stderr


def test_the_paths_that_import_late_are_in_the_layer(python313: str, build: Path) -> None:
    """Heavy parts are imported where used; they must be there all the same."""
    code = "import jwt, argon2, httpx, numpy, pg8000.native, cryptography.hazmat.primitives"
    done = _python_on_lambda(python313, build, "AuthFunction", code)
    assert done.returncode == 0, done.stderr


def test_the_layer_stays_lean(build: Path) -> None:
    files = (build / "SharedLayer").rglob("*")
    size = sum(path.stat().st_size for path in files if path.is_file())
    assert size <= LAYER_LIMIT_BYTES, f"{size / 1e6:.1f} MB"
