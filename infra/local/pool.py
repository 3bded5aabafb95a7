"""Execution environments of one function: who gets which, and when one starts or ends.

Errors of an invocation::

    InvocationError
        ThrottledError            no environment is free and too many callers wait
        RequestTooLargeError      the event is over 6 MB
        FunctionInitError         the handler could not be imported, the server did not get ready
        FunctionTimeoutError      killed after the function's Timeout
        FunctionCrashedError      the process ended while it worked
        FunctionFailedError       the handler raised
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from infra.local.system import Function

_log = logging.getLogger(__name__)


class InvocationError(Exception):
    """An invocation gave no result."""


class ThrottledError(InvocationError):
    """No environment is free and too many callers wait: Lambda's 429."""


class RequestTooLargeError(InvocationError):
    """The event does not fit Lambda's limit."""


class FunctionInitError(InvocationError):
    """The handler could not be imported, or the server did not get ready."""


class FunctionTimeoutError(InvocationError):
    """The function took longer than its Timeout; its environment was killed."""


class FunctionCrashedError(InvocationError):
    """The environment's process ended in the middle of an invocation."""


class FunctionFailedError(InvocationError):
    """The handler raised; ``details`` is Lambda's error object."""

    def __init__(self, function: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{function} raised {details['errorType']}: {details['errorMessage']}")
        self.details = details


class Instance(Protocol):
    """One environment, as a pool sees it."""

    idle_since: float

    @property
    def is_alive(self) -> bool: ...

    @property
    def pid(self) -> int: ...

    async def stop(self) -> None:
        """Let the process end by itself, for a moment; then kill it."""

    async def kill(self) -> None:
        """End the process at once."""


E = TypeVar("E", bound=Instance)


class Pool(Generic[E]):
    """The environments of one function.

    A caller takes the environment that was used last, so that a surplus grows old and is reaped.
    When none is free a new one starts, and the caller takes whichever is ready first: a cold
    start never delays a request that a warm environment could serve.
    """

    def __init__(
        self,
        function: Function,
        start: Callable[[Function], Awaitable[E]],
        max_environments: int,
        *,
        max_waiting: int = 1000,
    ) -> None:
        self.function = function
        self._start = start
        reserved = function.reserved_concurrency
        self._size = max_environments if reserved is None else min(reserved, max_environments)
        self._max_waiting = max_waiting
        self._idle: list[E] = []
        self._all: set[E] = set()
        self._waiting: deque[asyncio.Future[E]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """How many events can run at the same time."""
        return self._size

    @property
    def pids(self) -> list[int]:
        return [environment.pid for environment in self._all]

    async def reap(self, idle_s: float) -> None:
        """Stop environments that nobody has needed for ``idle_s`` seconds."""
        latest = time.monotonic() - idle_s
        for environment in [e for e in self._idle if e.idle_since < latest]:
            self._idle.remove(environment)
            self._all.discard(environment)
            await environment.stop()

    async def close(self) -> None:
        """Kill everything; whoever still waits gets ``ThrottledError``."""
        self._size = 0
        self._fail_waiting(ThrottledError(f"{self.function.name} is stopping"))
        for task in self._starting:
            task.cancel()
        ending = [environment.stop() for environment in self._all]
        await asyncio.gather(*ending, *self._ending, *self._starting, return_exceptions=True)

    async def acquire(self) -> E:
        """Take an environment; the caller releases or discards it.

        Raises
        ------
        ThrottledError, FunctionInitError
        """
        while self._idle:
            environment = self._idle.pop()
            if environment.is_alive:
                return environment
            self.discard(environment)
        if len(self._waiting) >= self._max_waiting or self._size == 0:
            raise ThrottledError(f"{self.function.name} has {len(self._waiting)} callers waiting")
        turn: asyncio.Future[E] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._start_if_needed()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(turn.result())
            raise

    def _start_if_needed(self) -> None:
        callers = sum(not turn.done() for turn in self._waiting)
        room = self._size - len(self._all) - len(self._starting)
        for _ in range(min(room, callers - len(self._starting))):
            task = asyncio.create_task(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start_one(self) -> None:
        try:
            environment = await self._start(self.function)
        except (FunctionInitError, OSError) as error:
            _log.error("%s", error)
            # Every caller waited for this same import; a retry would fail the same way.
            self._fail_waiting(FunctionInitError(f"{self.function.name} did not start"))
        else:
            self._all.add(environment)
            self.release(environment)

    def release(self, environment: E) -> None:
        """Hand an environment to whoever waits, or keep it for the next."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(environment)
                return
        environment.idle_since = time.monotonic()
        self._idle.append(environment)

    def discard(self, environment: E) -> None:
        """Kill an environment; a new one starts if somebody waits."""
        self._all.discard(environment)
        task = asyncio.create_task(environment.kill())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._start_if_needed()

    def _fail_waiting(self, error: InvocationError) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)
