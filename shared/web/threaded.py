"""``Threaded``: one thread per request under a real server, for applications that block.

Routes block (a query, a provider's answer), which is right on Lambda, where an environment serves
one request at a time, and wrong in a server's event loop. So the server's loop only carries
messages, and each request runs in a thread with an event loop of its own::

    server's loop                       thread
    whole body read  ---- request ---->  application
    send to client   <--- messages ----  send (does not wait, up to a window)
    client left      ---- flag -------->  the next send raises ClientLeftError,
                                          open generators are closed

A hop between the two costs more than anything else here, so a body is read before the thread
starts, and the head of a response of known length travels with its body: one hop each way.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from shared.kit.turns import Turns, resting

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a thread may be ahead of a slow client before it waits.
_WINDOW_BYTES = 65_536


class ClientLeftError(asyncio.CancelledError):
    """Raised by ``send`` when nobody reads the stream any more.

    A cancellation, not an ``OSError`` as ASGI has it: it is no fault that anybody should log.
    """


class Threaded:
    """ASGI middleware that runs each HTTP request in one of ``threads`` worker threads.

    More requests than threads wait their turn. Streams pass on at once, chunk by chunk.

    Parameters
    ----------
    turns : int
        So many of the threads compute at once (``shared.kit.turns``); None: all of them may.
    max_body_bytes : int
        Up to this size a body is read before its request takes a thread, so that a slow sender
        holds none. The rest of a larger one is read as the application asks for it.
    """

    def __init__(
        self, app: ASGIApp, threads: int, *, turns: int | None = None,
        max_body_bytes: int = 1_048_576,
    ) -> None:  # fmt: skip
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._turns = Turns(turns or threads)
        self._own = threading.local()
        self._loops: list[asyncio.AbstractEventLoop] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = await _read_body(receive, self._max_body_bytes)
        if request["type"] == "http.disconnect":
            return
        # Starlette then streams without a task that listens for a disconnect: in a loop that a
        # generator blocks it would hear nothing.
        asgi = {**scope.get("asgi", {}), "spec_version": "2.4"}
        exchange = _Exchange({**scope, "asgi": asgi}, request, receive, send)
        self._workers.submit(self._work, exchange)
        await exchange.carry()

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

    def _work(self, exchange: _Exchange) -> None:
        try:
            with self._turns.turn():
                self._loop().run_until_complete(exchange.serve(self._app))
        except BaseException as error:  # noqa: BLE001 - it belongs to the server
            exchange.end(error)
        else:
            exchange.end(None)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop | None = getattr(self._own, "loop", None)
        if loop is None:
            loop = self._own.loop = asyncio.new_event_loop()
            self._loops.append(loop)
        return loop


async def _read_body(receive: Receive, max_bytes: int) -> Message:
    """Return the request as one message, unless its body is over ``max_bytes``."""
    message = await receive()
    if not message.get("more_body"):
        return message
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body") and size <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return {**message, "body": b"".join(parts)}


class _Exchange:
    """One request and its response, between the server's loop and a thread."""

    def __init__(self, scope: Scope, request: Message, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._request: Message | None = request
        self._receive = receive
        self._send = send
        self._server = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._changed = threading.Condition()
        self._outgoing: deque[Message] = deque()
        self._unsent_bytes = 0
        self._held: Message | None = None
        self._has_left = False
        self._is_answered = False
        self._has_ended = False
        self._error: BaseException | None = None

    # In the server's loop ---------------------------------------------------------------------

    async def carry(self) -> None:
        """Send what the application sends, until its response is complete or it has ended."""
        watching: asyncio.Task[None] | None = None
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                # Asked first: the thread goes on meanwhile, and what it sent before is there then.
                has_ended = self._has_ended
                for _ in range(len(self._outgoing)):
                    message = self._outgoing.popleft()
                    await self._send(message)
                    if _is_last(message):
                        return
                    self._sent(message)
                if has_ended:
                    if self._error is not None:
                        raise self._error
                    return
                if watching is None:
                    watching = self._server.create_task(self._watch())
                # Neither of the two above need let the loop go on, and others wait for it.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            if watching is not None:
                watching.cancel()

    async def _watch(self) -> None:
        """Wait for the client to leave. Buffered responses do without: they end by themselves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _sent(self, message: Message) -> None:
        with self._changed:
            self._unsent_bytes -= len(message.get("body", b""))
            self._changed.notify()

    def _leave(self) -> None:
        with self._changed:
            self._has_left = True
            self._changed.notify()
        # A thread that waits for somebody else hears nothing of it, unless it said what to do.
        interrupt = self._scope.get("state", {}).get("interrupt")
        if interrupt is not None:
            interrupt()

    # In the thread ----------------------------------------------------------------------------

    async def serve(self, app: ASGIApp) -> None:
        """Run the application; afterwards no generator that it started is left open."""
        generators: list[AsyncGenerator[Any, Any]] = []
        # Set anew for each request: the loop puts its own back when it stops.
        sys.set_asyncgen_hooks(firstiter=generators.append)
        try:
            await app(self._scope, self.receive, self.send)
        except ClientLeftError:
            pass
        finally:
            # A response that is not read to its end leaves its generator suspended at a yield, and
            # with it a connection to the provider. Left to the collector it would be closed in this
            # loop, which only runs again with the next request.
            async with AsyncExitStack() as stack:
                for generator in generators:
                    stack.push_async_callback(generator.aclose)

    async def receive(self) -> Message:
        if self._request is not None:
            request, self._request = self._request, None
            return request
        coming: Coroutine[Any, Any, Message] = self._receive()  # type: ignore[assignment]
        with resting():
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coming, self._server))

    async def send(self, message: Message) -> None:
        if self._has_left:
            raise ClientLeftError
        if message["type"] == "http.response.start" and _has_length(message):
            self._held = message
            return
        with self._changed:
            if self._held is not None:
                self._outgoing.append(self._held)
                self._held = None
            self._outgoing.append(message)
            self._unsent_bytes += len(message.get("body", b""))
        self._is_answered = _is_last(message)
        self._server.call_soon_threadsafe(self._arrived.set)
        if self._unsent_bytes > _WINDOW_BYTES and not self._is_answered:
            with resting(), self._changed:
                self._changed.wait_for(
                    lambda: self._unsent_bytes <= _WINDOW_BYTES or self._has_left
                )

    def end(self, error: BaseException | None) -> None:
        if error is not None and self._is_answered:  # the server has gone on meanwhile
            context = {"message": "An application failed after its answer", "exception": error}
            self._server.call_soon_threadsafe(self._server.call_exception_handler, context)
            return
        self._error = error
        self._has_ended = True
        self._server.call_soon_threadsafe(self._arrived.set)


def _has_length(start: Message) -> bool:
    return any(name == b"content-length" for name, _ in start.get("headers", ()))


def _is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)
