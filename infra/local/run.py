"""``davinci run``: PostgreSQL, migrations, the local cloud, recorded traffic, one URL."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from functions.auth import service as auth
from functions.policies import service as policies
from infra.local.cloud import LocalCloud
from infra.local.home import ADMIN_EMAIL, Home
from infra.local.migrate import upgrade
from infra.local.postgres import EmbeddedPostgres
from infra.local.replay.settings import ReplaySettings
from infra.local.replay.traffic import LEVEL_OF_TASK
from infra.local.servers import die_with_parent

CHECKOUT = Path(__file__).resolve().parents[2]
_STOP_TIMEOUT_S = 15.0
# Functions on this host talk to the local bus; the prompts of the demo may be read. The replay is a
# month of traffic in a minute: what is learned should not come hundreds of requests later.
_FUNCTION_ENVIRONMENT = {
    "DAVINCI_BUS": "local",
    "DAVINCI_STORE_TEXT": "1",
    "DAVINCI_SNAPSHOT_TTL_S": "0.5",
}
# What models may name as env:NAME; functions see nothing else of the shell.
_PROVIDER_KEY_SUFFIX = "_API_KEY"


def run(environ: Mapping[str, str]) -> int:
    """Run everything until SIGINT or SIGTERM; return the exit code.

    Raises
    ------
    HomeBusyError, PostgresError, SettingsError, OSError
        If it cannot start; the message says what to do.
    """
    replay = ReplaySettings.from_environ(environ)
    home = Home(replay.home)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    with ExitStack() as stack:
        stack.enter_context(home.locked())
        home.ensure_signing_keys()
        password, is_new = home.ensure_admin_password(environ.get("DAVINCI_ADMIN_PASSWORD"))
        database_url = environ.get("DATABASE_URL")
        if not database_url:
            with _step("PostgreSQL"):
                database_url = stack.enter_context(EmbeddedPostgres(home.postgres)).url
        with _step("Migrations"):
            upgrade(database_url)
            _seed(database_url, password)
        return asyncio.run(_serve(database_url, home, replay, password, is_new=is_new))


async def _serve(
    database_url: str, home: Home, replay: ReplaySettings, password: str, *, is_new: bool
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    cloud = LocalCloud(
        CHECKOUT / "template.yaml",
        database_url=database_url,
        home=home.path,
        public_port=int(replay.public_url.rpartition(":")[2]),
        environment=_FUNCTION_ENVIRONMENT
        | {k: v for k, v in os.environ.items() if k.endswith(_PROVIDER_KEY_SUFFIX)},
        parameters={"Stage": "dev", "DatabaseUrl": database_url},
    )
    async with AsyncExitStack() as stack:
        with _step("Local cloud"):
            await cloud.start()
        stack.push_async_callback(cloud.stop)
        _announce(cloud.url, password, home, is_new=is_new)
        if replay.mode != "off":
            provider = _start("infra.local.replay", "provider", home=home.path)
            stack.push_async_callback(_end, provider)
            driver = _start(
                "infra.local.replay",
                "run",
                "--mode",
                replay.mode,
                home=home.path,
                password=password,
            )
            stack.push_async_callback(_end, driver)
        await stop.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second Ctrl-C interrupts the orderly stop
        _say("\nStopping ...")
    _say("Stopped. Everything acknowledged is kept; start again to go on.")
    return 0


def _seed(database_url: str, password: str) -> None:
    """Create the administrator and the preset policies unless they are there."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        auth.ensure_user(connection, ADMIN_EMAIL, password, "admin")
        policies.ensure_presets(connection, dict(LEVEL_OF_TASK))
    engine.dispose()


def _start(
    module: str, *arguments: str, home: Path, password: str | None = None
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DAVINCI_HOME": str(home)}
    if password is not None:
        environment["DAVINCI_ADMIN_PASSWORD"] = password
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        # Ctrl-C in a terminal reaches a whole process group; the order of stopping is ours.
        start_new_session=True,
        # Its journal is made for that, and a polite driver would still be writing it when the next
        # run starts.
        # Run before exec in the child: one system call, safe although we may have threads.
        preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )


async def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, _STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _announce(url: str, password: str, home: Home, *, is_new: bool) -> None:
    notes = ["generated now"] if is_new else []
    if home.admin_password_file.exists():
        notes.append(f"kept in {home.admin_password_file}")
    note = f"({', '.join(notes)})" if notes else ""
    _say(
        f"""
Da Vinci     {url}            dashboard, API under /api, OpenAI-compatible under /v1
Log in       {ADMIN_EMAIL}
Password     {password} {note}
Docs         {url}/docs
Stop         Ctrl-C
"""
    )


@contextmanager
def _step(name: str) -> Iterator[None]:
    started_at = time.perf_counter()
    print(f"{name} ... ", end="", flush=True)
    yield
    _say(f"ready ({time.perf_counter() - started_at:.1f} s)")


def _say(text: str) -> None:
    print(text, flush=True)
