"""The real Lambda handlers against a real PostgreSQL, in process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from shared.db.tables import metadata
from shared.events.bus import Entry
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream

ADMIN = ("admin@davinci.local", "correct horse battery staple")


@pytest.fixture(scope="session")
def environment(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The functions' environment variables, as a host sets them before the first import."""
    secret = tmp_path_factory.mktemp("home") / "signing-keys.json"
    secret.write_text(json.dumps({"current": "for tests only", "previous": ""}))
    values = {
        "DATABASE_URL": database_url,
        "DAVINCI_SIGNING_KEYS": f"file:{secret}",
        "DAVINCI_SNAPSHOT_TTL_S": "0",
        "DAVINCI_CREDENTIAL_TTL_S": "0",
        "DAVINCI_STORE_TEXT": "1",
        "DAVINCI_LOG_LEVEL": "ERROR",
        "DAVINCI_RELAY_LOOK_AGAIN_S": "0",
    }
    with process_with(values):
        yield values
    from shared.web import lambda_handler

    if (loop := getattr(lambda_handler._thread, "loop", None)) is not None:
        loop.close()


@contextmanager
def process_with(values: Mapping[str, str]) -> Iterator[None]:
    """Let this process start over with these environment variables, as a new environment would."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    _start_over()
    _make_engine()
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    _start_over()


def _make_engine() -> None:
    """Make the process's engine now: threads that are the first to want it would make several, and
    all but one are left with their connections open.
    """
    from shared.db.engine import get_engine

    get_engine()


def _start_over() -> None:
    """Close and forget everything that the functions keep per process."""
    from shared import secrets
    from shared.config import get_settings
    from shared.db.engine import get_engine
    from shared.decisions.process import get_world_cache
    from shared.providers.client import get_client
    from shared.web.callers import forget_cached_credentials

    if get_engine.cache_info().currsize:
        get_engine().dispose()
    if get_client.cache_info().currsize:
        get_client().close()
    for cached in (get_settings, get_engine, get_client, get_world_cache):
        cached.cache_clear()
    secrets._cache.clear()
    forget_cached_credentials()


@pytest.fixture
def clean_database(engine: sa.Engine) -> None:
    """Empty every table; the event sequence starts at 0 again."""
    names = ", ".join(
        table.name for table in metadata.sorted_tables if table.name != "event_sequence"
    )
    with engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} CASCADE"))
        connection.execute(sa.text("UPDATE event_sequence SET value = 0"))


@pytest.fixture
def api(environment: dict[str, str], clean_database: None) -> LambdaClient:
    """Calls routes through their functions' handlers, as the template maps them."""
    return LambdaClient(Path(__file__).parents[2] / "template.yaml")


@pytest.fixture
def many_connections(environment: dict[str, str]) -> Iterator[None]:
    """A process with a pool for threads, as in a container; Lambda's holds one connection."""
    with process_with({"DAVINCI_DATABASE_CONNECTIONS": "16"}):
        from shared.decisions.process import get_world_cache
        from shared.providers.client import get_client

        # One each for all threads, as a host that has threads makes them at its start.
        get_world_cache()
        get_client()
        yield


@pytest.fixture
def admin(api: LambdaClient) -> LambdaClient:
    """The same, logged in as the administrator."""
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    with transaction(get_engine()) as connection:
        ensure_user(connection, *ADMIN, role="admin")
    answer = api.post("/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]})
    assert answer.status == 200, answer.body
    return api.with_token(answer.json()["access_token"])


@pytest.fixture
def make_key(admin: LambdaClient) -> Callable[..., LambdaClient]:
    """Returns a client that holds a new API key with the given scopes."""

    def make(*scopes: str, **more: Any) -> LambdaClient:
        answer = admin.post("/api/keys", {"name": "test", "scopes": list(scopes), **more})
        assert answer.status == 201, answer.body
        return admin.with_token(answer.json()["secret"])

    return make


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    """A proxy before the tests' database."""
    (path,) = parse_qs(urlsplit(database_url).query)["unix_sock"]
    with TcpProxy(path).running() as proxy:
        yield proxy


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements with values that the functions make, as they make them."""
    from shared.db.driver import Connection

    said: list[str] = []
    send = Connection._exchange

    def listen(self: Any, context: Any, *more: Any) -> None:
        said.append(context.statement)
        send(self, context, *more)

    monkeypatch.setattr(Connection, "_exchange", listen)
    return said


class TakesAll:
    """A bus that takes everything and remembers it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def put(self, entries: Sequence[Entry]) -> list[bool]:
        self.entries += entries
        return [True] * len(entries)

    def sequences(self, detail_type: str) -> list[int]:
        """Return the sequences of the published events of a type, in order of publication."""
        details = (json.loads(e.detail) for e in self.entries if e.detail_type == detail_type)
        return [detail["sequence"] for detail in details]


@pytest.fixture
def takes_all(monkeypatch: pytest.MonkeyPatch) -> TakesAll:
    """The relay function's bus."""
    from functions.events import worker

    bus = TakesAll()
    monkeypatch.setattr(worker, "bus_for", lambda settings: bus)
    return bus


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    """An OpenAI-compatible server on loopback whose behaviour a test scripts."""
    server = FakeUpstream()
    with server.running():
        yield server


@pytest.fixture
def registry(admin: LambdaClient, upstream: FakeUpstream) -> list[str]:
    """Two registered models on the fake upstream, and the default policies."""
    from functions.policies.service import ensure_presets
    from shared.db.engine import get_engine, transaction

    upstream.reset()
    with transaction(get_engine()) as connection:
        ensure_presets(connection, {})
    ids = []
    for name, price in (("small", 0.2), ("large", 2.0)):
        body = {
            "id": f"test/{name}",
            "provider": "test",
            "base_url": upstream.url,
            "upstream_name": name,
            "input_usd_per_mtok": price,
            "output_usd_per_mtok": price,
            "context_tokens": 8_192,
        }
        answer = admin.post("/api/models", body)
        assert answer.status == 201, answer.body
        ids.append(f"test/{name}")
    return ids
