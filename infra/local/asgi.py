"""The container host: ``uvicorn infra.local.asgi:app`` serves every domain from one process.

Handlers block (a query, a provider's answer), which is right on Lambda, where an environment
serves one request at a time, and wrong in a shared event loop. So each request runs in a thread
with an event loop of its own, and the server's loop only carries its messages. There are as many
threads as database connections (``DAVINCI_DATABASE_CONNECTIONS``), as each holds at most one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from infra.local.apps import all_domains
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.providers.chat import get_client

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Threaded:
    """ASGI middleware that runs each HTTP request in one of ``threads`` worker threads.

    Messages pass through one by one, so streaming and back-pressure work as without it.
    """

    def __init__(self, app: ASGIApp, threads: int) -> None:
        self._app = app
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._own = threading.local()
        self._loops: list[asyncio.AbstractEventLoop] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        server = asyncio.get_running_loop()

        def on_server(call: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, server))

        async def receive_there() -> Message:
            message: Message = await on_server(receive())  # type: ignore[arg-type]
            return message

        async def send_there(message: Message) -> None:
            await on_server(send(message))  # type: ignore[arg-type]

        def serve() -> None:
            self._loop().run_until_complete(self._app(scope, receive_there, send_there))

        await server.run_in_executor(self._workers, serve)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """Wait for the requests in work and let the threads end."""
        self._workers.shutdown()
        for loop in self._loops:
            loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop | None = getattr(self._own, "loop", None)
        if loop is None:
            loop = self._own.loop = asyncio.new_event_loop()
            self._loops.append(loop)
        return loop


def create_service() -> Threaded:
    """Return all domains as one service."""
    # Made before the first threads come: lru_cache lets several make one each, and a second engine
    # would be a second pool.
    get_engine()
    get_world_cache()
    get_client()
    return Threaded(all_domains(), threads=get_settings().database_connections)


app = create_service()
