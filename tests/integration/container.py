"""The container's service under a real server, in a thread of the tests' process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from tests.integration.conftest import process_with

CONNECTIONS, THREADS = 8, 24


@contextmanager
def container_with(settings: Mapping[str, str]) -> Iterator[str]:
    """Run the service with these environment variables and some of its own; yield its URL."""
    own = {
        "DAVINCI_DATABASE_CONNECTIONS": str(CONNECTIONS),
        "DAVINCI_HTTP_THREADS": str(THREADS),
        "DAVINCI_CREDENTIAL_TTL_S": "30",
    }
    with process_with({**own, **settings}), served() as url:
        yield url


@contextmanager
def served() -> Iterator[str]:
    """Run the service as the environment's variables say; yield its URL."""
    from infra.local.asgi import create_service

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    config = uvicorn.Config(create_service(), log_level="error", ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
