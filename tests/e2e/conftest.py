"""One running system for the tests that only look at it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.system import PASSWORD, System, free_ports


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """``davinci run`` with 240 recorded requests replayed. The home's path holds a space."""
    home = tmp_path_factory.mktemp("e2e") / "a home"
    running = System(home, free_ports(), requests=240)
    running.start()
    running.wait_for_replay()
    yield running
    assert running.interrupt() == 0


@pytest.fixture(scope="session")
def admin(system: System) -> Iterator[httpx.Client]:
    """An HTTP client logged in as the administrator."""
    with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as client:
        login = client.post(
            "/api/auth/login", json={"email": "admin@davinci.local", "password": PASSWORD}
        )
        client.headers["authorization"] = f"Bearer {login.json()['access_token']}"
        yield client


@pytest.fixture(scope="session")
def api_key(admin: httpx.Client) -> str:
    body = {"name": "e2e", "scopes": ["chat", "route", "feedback", "read"]}
    return str(admin.post("/api/keys", json=body).json()["secret"])
