"""Cold starts: every function's INIT beside that of a hello-world function, as ratios.

The built artifacts are measured, under Lambda's own runtime interface client and emulator. Hello
starts right before every function, so that a slow minute of the machine slows both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.bench import scene
from infra.bench.events import CHECKOUT, api_event, load_template
from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.rie import ColdStart, LambdaRuntime
from infra.bench.stats import paired_ratio
from infra.local.home import Home
from infra.local.replay.traffic import load_traffic
from infra.local.system import Function, System

BUILD = CHECKOUT / ".aws-sam" / "build"
HELLO = "hello"
TARGET = 2.0
# Whose first answer is timed too, and by which request: what their callers come for.
_FIRST_REQUESTS = {
    "NeuralFunction": ("POST", "/api/neural/route"),
    "GatewayFunction": ("GET", "/v1/models"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    text = "built artifacts to measure; by default 'make build' makes them anew"
    parser.add_argument("--build", type=Path, metavar="DIR", help=text)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Build, start everything cold in rounds, and return medians and ratios."""
    build = given.build or _make_build()
    system = load_template()
    traffic = load_traffic()
    with tempfile.TemporaryDirectory() as scratch, scene.database() as url:
        folder = Path(scratch)
        python = _runtime_python()
        runtime = LambdaRuntime(CHECKOUT / ".tools" / "sam", python, folder)
        _build_hello(folder / HELLO, python)
        key = scene.furnish(url, traffic)
        home = Home(folder)
        home.ensure_signing_keys()
        # As deployed, but with nothing of AWS behind it.
        ours = {
            "DATABASE_URL": url,
            "DAVINCI_SIGNING_KEYS": f"file:{home.signing_keys}",
            "DAVINCI_BUS": "local",
            "DAVINCI_RELAY_FUNCTION": "",
        }
        body = scene.route_bodies(traffic, 1)[0]
        # A server behind the Web Adapter is no Python handler that the interface client could load.
        functions = {name: f for name, f in system.functions.items() if not f.serves_http}
        events = {name: _first_event(system, f, key, body) for name, f in functions.items()}
        events[HELLO] = json.dumps(api_event(system, "GET", "/hello", key)).encode()
        layer = build / "SharedLayer" / "python"

        def start(name: str, handler: str, code: Path, environment: Mapping[str, str]) -> ColdStart:
            variables = {**environment, **ours}
            found = runtime.cold_start(handler, (code, layer), variables, events[name])
            return _check_answer(name, found)

        starts: dict[str, list[tuple[ColdStart, ColdStart]]] = defaultdict(list)
        for round_ in range(1, given.runs + 1):
            say(f"round {round_} of {given.runs}: {len(functions)} functions after hello")
            for name, function in functions.items():
                hello = start(HELLO, "hello.handler", folder / HELLO, {})
                own = start(name, function.handler, build / name, function.environment)
                starts[name].append((hello, own))
    return _result(starts)


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the lines of the README's table: the slowest function speaks for all."""
    functions = result["functions"]
    slowest = max(functions, key=lambda name: functions[name]["ratio"])
    worst = functions[slowest]
    found = [
        Row(
            f"Cold start (INIT) of the slowest of {len(functions)} functions, {slowest}, "
            "against a hello-world FastAPI + Mangum function",
            f"{worst['ratio']:.2f} x ({worst['init_ms']:.0f} ms against "
            f"{result['hello_ms']:.0f} ms)",
            f"<= {TARGET:g} x",
            worst["ratio"] <= TARGET,
        )
    ]
    found += [
        Row(
            f"Cold {name} until its first answer ({functions[name]['first_request']})",
            f"{functions[name]['first_ms']:.0f} ms",
        )
        for name in _FIRST_REQUESTS
        if name in functions
    ]
    return found


def _result(starts: dict[str, list[tuple[ColdStart, ColdStart]]]) -> dict[str, Any]:
    functions: dict[str, dict[str, Any]] = {}
    for name, pairs in starts.items():
        inits = [start.init_ms for _, start in pairs]
        functions[name] = {
            "init_ms": round(statistics.median(inits), 1),
            "ratio": round(paired_ratio(inits, [hello.init_ms for hello, _ in pairs]), 3),
        }
        if name in _FIRST_REQUESTS:
            first_ms = statistics.median(start.first_ms for _, start in pairs)
            functions[name]["first_ms"] = round(first_ms, 1)
            functions[name]["first_request"] = " ".join(_FIRST_REQUESTS[name])
    hellos = [hello for pairs in starts.values() for hello, _ in pairs]
    return {
        "hello_ms": round(statistics.median(hello.init_ms for hello in hellos), 1),
        "hello_first_ms": round(statistics.median(hello.first_ms for hello in hellos), 1),
        "functions": functions,
        "runs": min(len(pairs) for pairs in starts.values()),
    }


def _make_build() -> Path:
    say("make build")
    made = subprocess.run(
        ["make", "--silent", "build"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"'make build' failed:\n{(made.stdout + made.stderr)[-3000:]}")
    return BUILD


def _runtime_python() -> Path:
    finder = CHECKOUT / "infra" / "local" / "find-python.sh"
    found = subprocess.run([str(finder), "3.13"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise RuntimeError(found.stderr.strip())
    return Path(found.stdout.strip())


def _build_hello(folder: Path, python: Path) -> None:
    """Build the yardstick as the functions are built: compiled, beside the same layer."""
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "hello" / "hello.py", folder)
    options = ["-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([str(python), "-m", "compileall", *options, str(folder)], check=True)


def _first_event(system: System, function: Function, key: str, body: bytes) -> bytes:
    """Return what wakes a function: its own request, a path of nobody's, or a schedule."""
    if not any(route.function == function.name for route in system.routes):
        return b"{}"
    method, path = _FIRST_REQUESTS.get(function.name, ("GET", "/nowhere"))
    sent = body if method == "POST" else b""
    return json.dumps(api_event(system, method, path, key, sent)).encode()


def _check_answer(name: str, start: ColdStart) -> ColdStart:
    """Refuse to publish the time of a first request that failed."""
    if name in {HELLO, *_FIRST_REQUESTS} and json.loads(start.answer).get("statusCode") != 200:
        raise RuntimeError(f"{name} answered {start.answer.decode()[:500]}")
    return start
