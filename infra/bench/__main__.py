"""``davinci bench NAME [--json]`` and ``python -m infra.bench all --write-readme``.

A benchmark is a module of this package, named in ``BENCHES``, whose docstring says in its first
line what it measures and which has::

    add_arguments(parser) -> None
    run(args) -> dict           JSON types; progress goes to standard error
    rows(result) -> list[Row]   lines of the README's table
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from infra.bench.report import Row, describe_machine, render, write_table

CHECKOUT = Path(__file__).resolve().parents[2]
BENCHES = (
    "handler", "cold", "load", "identity", "gateway", "routing", "nested", "learning", "ope",
    "rollout",
)  # fmt: skip


class Bench(Protocol):
    """What a benchmark's module has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, given: argparse.Namespace) -> dict[str, Any]: ...
    def rows(self, result: dict[str, Any]) -> list[Row]: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark, or all; return 0 when everything was measured."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if name in BENCHES:
        return _run_one(name, arguments)
    if name == "all":
        return _run_all(arguments)
    _overview().parse_args([name] if name else arguments or ["--help"])
    return 2


def _run_one(name: str, arguments: list[str]) -> int:
    bench = _load(name)
    first_line = (sys.modules[f"infra.bench.{name}"].__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"davinci bench {name}", description=first_line)
    parser.add_argument("--json", action="store_true", help="data on stdout, nothing else")
    bench.add_arguments(parser)
    given = parser.parse_args(arguments)
    result = bench.run(given)
    print(json.dumps(result) if given.json else render(bench.rows(result), _machine()))
    return 0


def _run_all(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="davinci bench all")
    parser.add_argument("--json", action="store_true", help="data on stdout, nothing else")
    parser.add_argument("--write-readme", action="store_true", help="renew the README's table")
    parser.add_argument("--readme", type=Path, default=CHECKOUT / "README.md", metavar="FILE")
    given = parser.parse_args(arguments)
    results = {name: _measured_apart(name) for name in BENCHES}
    rows = [row for name, result in results.items() for row in _load(name).rows(result)]
    if given.write_readme:
        write_table(given.readme, rows, _machine())
        print(f"  wrote the table in {given.readme}", file=sys.stderr)
    print(json.dumps(results) if given.json else render(rows, _machine()))
    return 0


def _measured_apart(name: str) -> dict[str, Any]:
    """Run one benchmark in a process of its own, so that none inherits another's warmth."""
    print(f"{name}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench", name, "--json"],
        cwd=CHECKOUT, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the benchmark {name!r} failed; its error is above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _load(name: str) -> Bench:
    return cast("Bench", importlib.import_module(f"infra.bench.{name}"))


def _machine() -> str:
    return describe_machine(datetime.now(UTC).date())


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="davinci bench", description="Measure Da Vinci here.")
    parser.add_argument("name", choices=[*BENCHES, "all"], help="what to measure; see its --help")
    return parser


if __name__ == "__main__":
    sys.exit(main())
