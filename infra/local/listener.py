"""A uvicorn server on one socket, started and stopped by the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

DRAIN_S = 5


class Listener(uvicorn.Server):
    """Serves an ASGI application; signals are the cloud's business."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http="httptools",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=DRAIN_S,
        )
        super().__init__(config)
        self._host = host
        self._wanted_port = port
        self._sockets: list[socket.socket] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        port = self._sockets[0].getsockname()[1] if self._sockets else self._wanted_port
        return f"http://{self._host}:{port}"

    def bind(self) -> None:
        """Take the port, so that a clash shows before anything has started."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # The protocol is named because asyncio switches Nagle's algorithm off only then; without
        # it an answer waits 40 ms for the acknowledgement of its own header.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._sockets = [listening]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._wanted_port))
        except OSError as error:
            listening.close()
            where = f"{self._host}:{self._wanted_port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        listening.listen(1024)

    async def start(self) -> None:
        self._task = asyncio.create_task(self.serve(sockets=self._sockets))
        while not self.started and not self._task.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Accept nothing more, let requests finish for ``DRAIN_S``, then cut them."""
        self.should_exit = True
        if self._task:
            await self._task
        for listening in self._sockets:
            listening.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
