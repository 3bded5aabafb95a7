"""Fixtures of the replay's integration tests: real HTTP on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.replay.provider import server_for
from infra.local.replay.settings import ReplaySettings
from infra.local.replay.traffic import Traffic, load_traffic

from .fake_system import PASSWORD, FakeSystem


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """The committed recordings."""
    return load_traffic()


@pytest.fixture(scope="session")
def provider_url(traffic: Traffic) -> Iterator[str]:
    """URL of a running replay upstream."""
    server = server_for(traffic, 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def system() -> Iterator[FakeSystem]:
    """A fake system without faults."""
    with FakeSystem() as fake:
        yield fake


@pytest.fixture
def settings(system: FakeSystem, provider_url: str, tmp_path: Path) -> ReplaySettings:
    """Settings of a short, impatient replay against the fake system."""
    return ReplaySettings(
        public_url=system.url,
        provider_url=provider_url,
        home=tmp_path,
        admin_password=PASSWORD,
        mode="once",
        requests=60,
        per_second=0,
        patience_s=5.0,
        backoff_s=0.005,
    )
