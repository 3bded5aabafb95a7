"""After ``sam build``: drop what no function imports, and compile for Lambda's Python.

Run by the runtime's own interpreter (python3.13). Compiled files halve a cold start, because
Lambda's file system is read-only and would compile everything anew; unchecked hashes, because
the files' times do not survive packaging.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# numpy's own build tools, documentation of types for editors, everybody's tests, and what only
# other kinds of application use. The test of the built artifacts proves that nothing is missed.
_USELESS_FOLDERS = ("tests", "testing/tests", "__pycache__")
_USELESS = (
    "numpy/f2py", "numpy/_core/include", "numpy/_core/lib", "numpy/_pyinstaller",
    "sqlalchemy/testing", "sqlalchemy/dialects/mssql", "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle", "sqlalchemy/orm", "pycparser",
    "aws_lambda_powertools/event_handler", "pydantic/v1", "fastapi/.agents",
    *(f"aws_lambda_powertools/utilities/{name}" for name in (
        "auth_alpha", "batch", "data_classes", "data_masking", "feature_flags", "idempotency",
        "kafka", "parameters", "parser", "streaming", "validation",
    )),
)  # fmt: skip
_USELESS_LIBRARIES = ("numpy/_core/_simd.*.so", "numpy/_core/_*_tests.*.so")
_USELESS_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h", ".a"}


def slim(build: Path) -> None:
    """Slim and compile every artifact below ``build``.

    Raises
    ------
    RuntimeError
        If a file does not compile.
    """
    for folder in _useless_folders(build):
        shutil.rmtree(folder, ignore_errors=True)
    for path in build.rglob("*"):
        if path.is_file() and path.suffix in _USELESS_SUFFIXES:
            path.unlink()
    for pattern in _USELESS_LIBRARIES:
        for path in build.glob(f"*/python/{pattern}"):
            path.unlink()
    for layer in build.glob("*/python"):
        for package in (p for p in layer.iterdir() if p.name != "shared"):
            _compile(package, beside_source=True)
            _remove_sources(package)
        for library in layer.rglob("*.so*"):
            _strip(library)
    _compile(build, beside_source=False)


def _compile(path: Path, *, beside_source: bool) -> None:
    """Compile; ``beside_source`` puts ``module.pyc`` where the interpreter needs no source."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if path.is_dir():
        done = compileall.compile_dir(path, quiet=1, legacy=beside_source, invalidation_mode=mode)
    else:
        done = path.suffix != ".py" or compileall.compile_file(
            path, quiet=1, legacy=beside_source, invalidation_mode=mode
        )
    if not done:
        raise RuntimeError(f"not everything below {path} compiles")


def _remove_sources(path: Path) -> None:
    """Remove third parties' sources, a fifth of the layer; ours stay, for readable tracebacks."""
    for source in [path] if path.is_file() else list(path.rglob("*.py")):
        if source.suffix == ".py" and source.with_suffix(".pyc").exists():
            source.unlink()


def _strip(library: Path) -> None:
    """Drop debugging symbols where binutils are at hand; without them the layer is larger."""
    strip = shutil.which("strip")
    # Shared libraries that wheels bundle have been patched, and stripping breaks some of those.
    if strip is not None and not library.parent.name.endswith(".libs"):
        subprocess.run([strip, "--strip-debug", str(library)], check=False, capture_output=True)


def _useless_folders(build: Path) -> Iterator[Path]:
    for layer in build.glob("*/python"):
        yield from (layer / name for name in _USELESS)
        # Only third parties' tests: a package of ours could rightly be called that.
        for package in (p for p in layer.iterdir() if p.is_dir() and p.name != "shared"):
            yield from (p for name in _USELESS_FOLDERS for p in package.rglob(name) if p.is_dir())


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
