"""A warm decision: the whole Lambda handler with its database write, and ``decide`` alone."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from infra.bench import scene
from infra.bench.events import api_event, load_template
from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.stats import summary_ms
from infra.local.environment import LambdaContext
from infra.local.home import Home
from infra.local.replay.traffic import Traffic, load_traffic

_WARM_UP = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--calls", type=int, default=2_000, help="measured calls (default 2000)")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure; see ``rows`` for what of it is published."""
    traffic = load_traffic()
    say("PostgreSQL, recorded models, a trained learner")
    with scene.database() as url, tempfile.TemporaryDirectory() as folder:
        key = scene.furnish(url, traffic)
        say(f"decide alone, {given.calls} times")
        decide_s, n_models = _time_decide(traffic, given.calls)
        say(f"the whole handler, {given.calls} times")
        # A function's log lines are written, as on Lambda, but not to our output.
        with (Path(folder) / "function.log").open("w") as log, redirect_stdout(log):
            handler_s = _time_handler(url, Path(folder), key, traffic, given.calls)
        commit_s = _time_commit(url, 200)
    return {
        "decide_ms": summary_ms(decide_s),
        "handler_ms": summary_ms(handler_s),
        # What one durable commit of one tiny row costs here: the floor of any write.
        "commit_ms": summary_ms(commit_s),
        "calls": given.calls,
        "models": {"decide": n_models, "handler": len(traffic.models)},
        # Prompts alternate, so every second call had one of 1 kB.
        "decide_ms_by_prompt": {
            "recorded": summary_ms(decide_s[::2]),
            "1 kB": summary_ms(decide_s[1::2]),
        },
        "python": sys.version.split()[0],
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the lines of the README's table."""
    handler, decide = result["handler_ms"], result["decide_ms"]
    n_models = result["models"]["decide"]
    return [
        Row(
            "Warm decision: the whole Lambda handler with its database write (fsync on)",
            f"p50 {handler['p50']:.2f} ms, p99 {handler['p99']:.2f} ms",
            "p50 <= 5 ms, p99 <= 25 ms",
            handler["p50"] <= 5.0 and handler["p99"] <= 25.0,
        ),
        Row(
            f"`shared.routing.decide` alone, {n_models} models",
            f"p50 {decide['p50']:.2f} ms, p99 {decide['p99']:.2f} ms",
            "p50 <= 0.5 ms",
            decide["p50"] <= 0.5,
        ),
    ]


def _time_decide(traffic: Traffic, n_calls: int) -> tuple[list[float], int]:
    from functions.policies.presets import DEFAULT, presets
    from shared.decisions.tokens import estimate_tokens
    from shared.kit.ids import uuid7
    from shared.routing.decide import decide
    from shared.routing.types import Context, ModelCard, Snapshot

    cards = [
        ModelCard(m.id, m.input_usd_per_mtok, m.output_usd_per_mtok, 8192, 4096)
        for m in traffic.models
    ]
    newcomer = replace(cards[-1], id="replay/newcomer")  # the tenth: nobody has tried it yet
    policy = presets()[DEFAULT][1].to_policy(uuid7(), DEFAULT, 1)
    snapshot = Snapshot(policy, (*cards, newcomer), scene.trained_learner(traffic))
    contexts = [
        Context(text=text, tokens_in=estimate_tokens(text), task_type=task)
        for text, task in scene.prompts(traffic, 200)
    ]
    now = datetime.now(UTC)

    def call(place: int) -> None:
        decide(contexts[place % len(contexts)], snapshot, seed=place, now=now)

    return _timed(call, n_calls), len(snapshot.models)


def _time_handler(url: str, folder: Path, key: str, traffic: Traffic, n_calls: int) -> list[float]:
    home = Home(folder)
    home.ensure_signing_keys()
    os.environ.update(
        DATABASE_URL=url,
        DAVINCI_SIGNING_KEYS=f"file:{home.signing_keys}",
        DAVINCI_STORE_TEXT="1",
        AWS_LAMBDA_FUNCTION_NAME="NeuralFunction",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1024",
        **scene.WIDE_LIMITS,
    )
    # After the environment is set: importing an app reads the settings.
    from functions.neural.handler import handler

    system = load_template()
    events = [
        api_event(system, "POST", "/api/neural/route", key, body)
        for body in scene.route_bodies(traffic, 200)
    ]

    def call(place: int) -> None:
        context = LambdaContext("bench", "arn:aws:lambda:local:0:function:Neural", 2**53)
        answer = handler(events[place % len(events)], context)
        if answer["statusCode"] != 200:
            raise RuntimeError(f"the handler answered {answer['statusCode']}: {answer['body']}")

    return _timed(call, n_calls)


def _time_commit(url: str, n_calls: int) -> list[float]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE bench_commits (n integer)"))
        statement = sa.text("INSERT INTO bench_commits VALUES (:n)")
        times = _timed(lambda n: connection.execute(statement, {"n": n}), n_calls)
    engine.dispose()
    return times


def _timed(call: Callable[[int], object], n_calls: int) -> list[float]:
    """Return the wall time in seconds of each of ``n_calls`` calls after a warm-up."""
    times = []
    for place in range(-_WARM_UP, n_calls):
        started_at = time.perf_counter()
        call(place + _WARM_UP)
        if place >= 0:
            times.append(time.perf_counter() - started_at)
    return times
