"""``Together``: many requests in one thread, for routes that wait most of their time.

The code of a route blocks where it waits (a query, a provider's answer), which reads well and is
right on Lambda. A thread for each request costs more than all the waiting, and 0.3 MB. So here each
request runs in a greenlet of the server's own thread, and what would block hands its wait to the
server's loop (``shared.kit.waiting``)::

    server's loop                        greenlet
    request  ----------- switch ------>  application, up to where it waits
    awaits the socket    <- switch ----  until_ready(socket)
    it is ready  ------- switch ------>  goes on

The application's own awaits take the same way.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Collection, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import getcurrent, greenlet

from shared.web.threaded import ClientLeftError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Result = TypeVar("Result")


class Together:
    """ASGI middleware: POSTs to ``paths`` run here, all others in ``otherwise``.

    It is also how they wait: give it to ``shared.kit.waiting.install``.

    Parameters
    ----------
    at_once : int
        More requests than that wait their turn.
    max_body_bytes : int
        Larger requests, and such of unknown length, go to ``otherwise``: computing for one holds up
        all others.
    """

    def __init__(
        self, app: ASGIApp, otherwise: ASGIApp, paths: Collection[str], *, at_once: int,
        max_body_bytes: int = 65_536,
    ) -> None:  # fmt: skip
        self._app = app
        self._otherwise = otherwise
        self._paths = frozenset(paths)
        self._room = asyncio.Semaphore(at_once)
        self._max_body_bytes = max_body_bytes
        # The loop itself would let the collector take them.
        self._helpers: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_small_post(scope):
            await self._otherwise(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        async with self._room:
            try:
                await _in_greenlet(self._app(visit.scope, receive, visit.send))
            except ClientLeftError:
                pass
            finally:
                visit.end()

    def _is_small_post(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._paths:
            return False
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= self._max_body_bytes

    # How requests here wait (``shared.kit.waiting.Waiter``) ------------------------------------

    def is_here(self) -> bool:
        # The loop itself runs in its thread's first greenlet, which nobody has made.
        return getcurrent().parent is not None

    def until_ready(self, descriptor: int, timeout_s: float | None, *, to_write: bool) -> bool:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[bool] = loop.create_future()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if to_write
            else (loop.add_reader, loop.remove_reader)
        )  # fmt: skip
        add(descriptor, _settle, ready, True)
        timer = None if timeout_s is None else loop.call_later(timeout_s, _settle, ready, False)
        try:
            return _wait_for(ready)
        finally:
            if timer is not None:
                timer.cancel()
            remove(descriptor)

    def pause(self, seconds: float) -> None:
        _wait_for(asyncio.sleep(seconds))

    def elsewhere(self, work: Callable[[], Result]) -> Result:
        return _wait_for(asyncio.get_running_loop().run_in_executor(None, work))

    def signal(self) -> _Signal:
        return _Signal()

    def beside(self, work: Callable[[], None]) -> None:
        # Its first leg ends here; the loop is its parent from then on.
        helper = greenlet(work)
        helper.gr_context = contextvars.copy_context()
        wanted = helper.switch()
        if not helper.dead:
            helper.parent = getcurrent().parent
            task = asyncio.get_running_loop().create_task(_carry(helper, wanted))
            self._helpers.add(task)
            task.add_done_callback(self._helpers.discard)


class _Signal:
    """A signal between greenlets of one loop."""

    def __init__(self) -> None:
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wait(self) -> None:
        _wait_for(self._told)

    def tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)


class _Visit:
    """One request: hears when its client has left a stream."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette then streams without a task of its own that listens for a disconnect.
        self.scope = {**scope, "asgi": {**scope.get("asgi", {}), "spec_version": "2.4"}}
        self._receive = receive
        self._send = send
        self._watching: asyncio.Task[None] | None = None
        self._has_left = False

    async def send(self, message: Message) -> None:
        if self._has_left:
            raise ClientLeftError
        if message.get("more_body") and self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        await self._send(message)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        interrupt = self.scope.get("state", {}).get("interrupt")
        if interrupt is not None:
            interrupt()

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()


async def _in_greenlet(work: Awaitable[None]) -> None:
    """Run ``work`` in a greenlet of its own; await here whatever it waits for."""
    visitor = greenlet(_drive)
    visitor.gr_context = contextvars.copy_context()
    wanted = visitor.switch(work.__await__())
    await _carry(visitor, wanted)


async def _carry(visitor: greenlet, wanted: Any) -> None:
    """Await what ``visitor`` waits for, until it has ended."""
    while not visitor.dead:
        try:
            value = await wanted
        except BaseException as error:  # it belongs to who waits
            wanted = visitor.throw(error)
        else:
            wanted = visitor.switch(value)


def _drive(work: Generator[Any, None, None]) -> None:
    """Step ``work`` to its end; what it yields is for the loop, and is awaited there."""
    error: BaseException | None = None
    while True:
        try:
            yielded = next(work) if error is None else work.throw(error)
        except StopIteration:
            return
        error = None
        try:
            _wait_for(_Passed(yielded))
        except BaseException as thrown:  # the application's to handle
            error = thrown


class _Passed:
    """What a coroutine yielded to its loop, yielded once more from further out."""

    def __init__(self, yielded: Any) -> None:
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, None]:
        yield self._yielded


def _wait_for(awaitable: Awaitable[Result]) -> Result:
    result: Result = getcurrent().parent.switch(awaitable)
    return result


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
