"""Coming in: a password's hash, an unknown account against a known one, others beside a hot key."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from functions.auth import keys
from functions.auth.service import ensure_user
from infra.bench import scene
from infra.bench.events import api_event, load_template
from infra.bench.progress import say
from infra.bench.report import Row
from infra.bench.stats import percentile, summary_ms
from infra.local.environment import LambdaContext
from infra.local.home import Home
from shared.audit import SYSTEM
from shared.auth.passwords import hash_password, verify_password
from shared.config import Settings
from shared.db.tables import login_throttle
from shared.limits import Bucket, admit
from shared.schemas.auth import KeyCreate

_PASSWORD = "correct horse battery staple"  # noqa: S105  # of a database that lives for a minute
_KNOWN, _UNKNOWN = "known@davinci.local", "unknown@davinci.local"
_MODES = ("alone", "spread", "hot")
_ROUNDS = 5
_BESIDE_PER_S = 400
_KEYS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--tries", type=int, default=200, help="of each kind (default 200)")
    parser.add_argument("--calls", type=int, default=1_000, help="beside a load (default 1000)")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure; see ``rows`` for what of it is published."""
    say(f"{given.tries} hashes")
    hash_s, verify_s = _time_hashes(given.tries)
    with scene.database() as url, tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.ensure_signing_keys()
        os.environ.update(
            DATABASE_URL=url,
            DAVINCI_SIGNING_KEYS=f"file:{home.signing_keys}",
            AWS_LAMBDA_FUNCTION_NAME="AuthFunction",
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE="512",
            **scene.WIDE_LIMITS,
        )
        secrets = _furnish(url)
        # A function's log lines are written, as on Lambda, but not to our output.
        with (Path(folder) / "function.log").open("w") as log, redirect_stdout(log):
            say(f"{given.tries} logins with a known and with an unknown e-mail, in turns")
            login_s = _time_logins(url, given.tries)
            say(f"{given.calls} requests of {_KEYS} keys: alone, beside a load, beside a hot key")
            beside_s = _time_beside(url, secrets, given.calls)
    medians = {name: statistics.median(times) * 1000 for name, times in login_s.items()}
    p99 = {mode: percentile(times, 99) for mode, times in beside_s.items()}
    return {
        "hash_ms": {**summary_ms(hash_s), "p95": round(percentile(hash_s, 95) * 1000, 3)},
        "verify_ms": {**summary_ms(verify_s), "p95": round(percentile(verify_s, 95) * 1000, 3)},
        "login_median_ms": {name: round(median, 3) for name, median in medians.items()},
        "login_difference_ms": round(abs(medians["known"] - medians["unknown"]), 3),
        "beside_ms": {mode: summary_ms(times) for mode, times in beside_s.items()},
        "hot_over_spread_p99": round(p99["hot"] / p99["spread"], 3),
        "hot_over_alone_p99": round(p99["hot"] / p99["alone"], 3),
        "tries": given.tries,
        "calls": given.calls,
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the lines of the README's table."""
    medians, beside = result["login_median_ms"], result["beside_ms"]
    return [
        Row(
            "A password's hash (argon2id, 19 MiB, two passes)",
            f"p50 {result['hash_ms']['p50']:.0f} ms, p95 {result['hash_ms']['p95']:.0f} ms",
            "p95 <= 250 ms",
            result["hash_ms"]["p95"] <= 250.0,
        ),
        Row(
            f"Refused login, known against unknown e-mail, medians of {result['tries']}",
            f"{medians['known']:.1f} ms against {medians['unknown']:.1f} ms: "
            f"{result['login_difference_ms']:.2f} ms apart",
            "<= 5 ms",
            result["login_difference_ms"] <= 5.0,
        ),
        Row(
            f"Other keys' answers while one key asks {_BESIDE_PER_S} times a second, against the "
            "same load spread over 100 keys",
            f"p99 {beside['hot']['p99']:.1f} ms against {beside['spread']['p99']:.1f} ms: "
            f"{result['hot_over_spread_p99']:.2f} x (without any load {beside['alone']['p99']:.1f} "
            "ms)",
            "<= 2 x",
            result["hot_over_spread_p99"] <= 2.0,
        ),
    ]


def _time_hashes(n_tries: int) -> tuple[list[float], list[float]]:
    stored = hash_password(_PASSWORD)
    hashed, verified = [], []
    for _ in range(n_tries):
        hashed.append(_seconds(lambda: hash_password(_PASSWORD)))
        verified.append(_seconds(lambda: verify_password(stored, "another password")))
    return hashed, verified


def _furnish(url: str) -> list[str]:
    """Add a user and keys that may read; return the keys' secrets."""
    settings = Settings(database_url=SecretStr(url))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        ensure_user(connection, _KNOWN, _PASSWORD, role="viewer")
        made = [
            keys.create(connection, settings, KeyCreate(name="bench", scopes=["read"]), SYSTEM)
            for _ in range(_KEYS)
        ]
    return [key.secret for key in made]


def _time_logins(url: str, n_tries: int) -> dict[str, list[float]]:
    """Time refused logins, each as if it were the first: the account never has to wait."""
    from functions.auth.handler import handler

    system, engine = load_template(), sa.create_engine(url)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    both = [("known", _KNOWN), ("unknown", _UNKNOWN)]
    for place in range(-5, n_tries):
        both.reverse()  # neither is always the first
        for kind, email in both:
            body = json.dumps({"email": email, "password": f"wrong {place}"}).encode()
            event = api_event(system, "POST", "/api/auth/login", "none", body)
            # From everywhere: limits by address are another matter.
            address = f"10.{place >> 8 & 255}.{place & 255}.{1 if kind == 'known' else 2}"
            event["requestContext"]["http"]["sourceIp"] = address
            taken_s = _answered(handler, event, 401)
            if place >= 0:
                times[kind].append(taken_s)
            with engine.begin() as connection:
                connection.execute(sa.delete(login_throttle))
    engine.dispose()
    return times


def _time_beside(url: str, secrets: list[str], n_calls: int) -> dict[str, list[float]]:
    """Time requests of many keys, in rounds so that each mode has its share of a busy machine."""
    from functions.auth.handler import handler

    system = load_template()
    events = [api_event(system, "GET", "/api/auth/verify", secret) for secret in secrets]
    times: dict[str, list[float]] = {mode: [] for mode in _MODES}
    for event in events * 2:
        _answered(handler, event, 200)
    for _ in range(_ROUNDS):
        for mode in _MODES:
            with _load(url, mode):
                for place in range(n_calls // _ROUNDS):
                    times[mode].append(_answered(handler, events[place % _KEYS], 200))
                    time.sleep(0.005)
    return times


@contextmanager
def _load(url: str, mode: str) -> Iterator[None]:
    if mode == "alone":
        yield
        return
    context = multiprocessing.get_context("spawn")
    started, stop = context.Event(), context.Event()
    process = context.Process(target=_ask_on, args=(url, mode == "hot", started, stop))
    process.start()
    try:
        if not started.wait(30):
            raise RuntimeError("the load did not start")
        yield
    finally:
        stop.set()
        process.join()


def _ask_on(url: str, is_hot: bool, started: Event, stop: Event) -> None:
    """Ask for admission ``_BESIDE_PER_S`` times a second: for one key, or for a hundred in turn."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        begin, asked = time.monotonic(), 0
        while not stop.is_set():
            subject = "hot" if is_hot else f"spread-{asked % 100}"
            buckets = [Bucket("default", subject, 1_000, 60), Bucket("global", "all", 10**8, 60)]
            admit(connection, buckets)
            asked += 1
            started.set()
            time.sleep(max(0.0, begin + asked / _BESIDE_PER_S - time.monotonic()))
    engine.dispose()


def _answered(handler: Callable[[Any, Any], Any], event: dict[str, Any], status: int) -> float:
    context = LambdaContext("bench", "arn:aws:lambda:local:0:function:Auth", 2**53)
    begin = time.perf_counter()
    answer = handler(event, context)
    taken_s = time.perf_counter() - begin
    if answer["statusCode"] != status:
        raise RuntimeError(f"the handler answered {answer['statusCode']}: {answer['body']}")
    return taken_s


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
