"""Execution environments from the outside: one process each, one event at a time.

Errors of an invocation::

    InvocationError
        ThrottledError            no environment is free and too many callers wait
        RequestTooLargeError      the event is over 6 MB
        FunctionInitError         the handler could not be imported
        FunctionTimeoutError      killed after the function's Timeout
        FunctionCrashedError      the process ended while it worked
        FunctionFailedError       the handler raised
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import sys
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from infra.local.system import Function

MAX_EVENT_BYTES = 6 * 1024 * 1024
# Lambda gives INIT 10 s on a machine of its own; a laptop may start a dozen at once.
_INIT_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 2.0
_LENGTH = struct.Struct(">I")
_log = logging.getLogger(__name__)


class InvocationError(Exception):
    """An invocation gave no result."""


class ThrottledError(InvocationError):
    """No environment is free and too many callers wait: Lambda's 429."""


class RequestTooLargeError(InvocationError):
    """The event does not fit Lambda's limit."""


class FunctionInitError(InvocationError):
    """The handler could not be imported."""


class FunctionTimeoutError(InvocationError):
    """The function took longer than its Timeout; its environment was killed."""


class FunctionCrashedError(InvocationError):
    """The environment's process ended in the middle of an invocation."""


class FunctionFailedError(InvocationError):
    """The handler raised; ``details`` is Lambda's error object."""

    def __init__(self, function: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{function} raised {details['errorType']}: {details['errorMessage']}")
        self.details = details


class Environment:
    """One process that has imported a function's handler."""

    def __init__(self, function: Function, process: asyncio.subprocess.Process) -> None:
        self._function = function
        self._process = process
        # Both are pipes: ``start`` asked for them.
        self._requests = cast("asyncio.StreamWriter", process.stdin)
        self._replies = cast("asyncio.StreamReader", process.stdout)
        self.idle_since = time.monotonic()

    @classmethod
    async def start(
        cls, function: Function, *, variables: Mapping[str, str], directory: Path, log: Path
    ) -> Environment:
        """Start a process and wait until the handler is imported.

        Raises
        ------
        FunctionInitError
            With the traceback of the import, or where the log is.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "infra.local.environment", function.handler,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output,
                cwd=directory, env=variables,
            )  # fmt: skip
        environment = cls(function, process)
        try:
            async with asyncio.timeout(_INIT_TIMEOUT_S):
                hello = await environment._receive()
        except (TimeoutError, FunctionCrashedError) as error:
            await environment.kill()
            raise FunctionInitError(f"{function.name} did not start; see {log}") from error
        except asyncio.CancelledError:
            await environment.kill()
            raise
        if "error" in hello:
            await environment.stop()
            trace = "".join(hello["error"]["stackTrace"])
            raise FunctionInitError(f"{function.name} failed to import its handler:\n{trace}")
        return environment

    @property
    def is_alive(self) -> bool:
        # The pipe ends a moment before the event loop hears of the process's end.
        return self._process.returncode is None and not self._replies.at_eof()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, event: bytes) -> Any:
        """Run one event; the environment is usable again unless it crashed or was cancelled.

        Raises
        ------
        FunctionFailedError, FunctionCrashedError
        """
        deadline_ms = int((time.time() + self._function.timeout_s) * 1000)
        head = {"request_id": str(uuid.uuid4()), "arn": self._function.arn}
        head_json = json.dumps(head | {"deadline_ms": deadline_ms}).encode()
        frame = head_json[:-1] + b',"event":' + event + b"}"
        try:
            self._requests.write(_LENGTH.pack(len(frame)) + frame)
            await self._requests.drain()
        except OSError as error:
            raise self._crashed() from error
        reply = await self._receive()
        if "error" in reply:
            raise FunctionFailedError(self._function.name, reply["error"])
        return reply["result"]

    async def stop(self) -> None:
        """Let the process end by itself, for a moment; then kill it."""
        self._requests.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _receive(self) -> dict[str, Any]:
        try:
            header = await self._replies.readexactly(_LENGTH.size)
            frame = await self._replies.readexactly(_LENGTH.unpack(header)[0])
        except (asyncio.IncompleteReadError, OSError) as error:
            raise self._crashed() from error
        reply: dict[str, Any] = json.loads(frame)
        return reply

    def _crashed(self) -> FunctionCrashedError:
        return FunctionCrashedError(f"{self._function.name} ended in the middle of an invocation")


class FunctionPool:
    """The environments of one function.

    A caller takes the environment that was used last, so that a surplus grows old and is reaped.
    When none is free a new one starts, and the caller takes whichever is ready first: a cold
    start never delays a request that a warm environment could serve.
    """

    def __init__(
        self,
        function: Function,
        start: Callable[[Function], Awaitable[Environment]],
        max_environments: int,
        *,
        max_waiting: int = 1000,
    ) -> None:
        self.function = function
        self._start = start
        reserved = function.reserved_concurrency
        self._size = max_environments if reserved is None else min(reserved, max_environments)
        self._max_waiting = max_waiting
        self._idle: list[Environment] = []
        self._all: set[Environment] = set()
        self._waiting: deque[asyncio.Future[Environment]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """How many events can run at the same time."""
        return self._size

    @property
    def pids(self) -> list[int]:
        return [environment.pid for environment in self._all]

    async def invoke(self, event: Mapping[str, Any]) -> Any:
        """Run one event and return the handler's result.

        Raises
        ------
        InvocationError
            See the module's tree.
        """
        payload = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")
        if len(payload) > MAX_EVENT_BYTES:
            raise RequestTooLargeError(f"the event has {len(payload)} bytes, over 6 MB")
        environment = await self._acquire()
        is_reusable = False
        try:
            async with asyncio.timeout(self.function.timeout_s):
                result = await environment.call(payload)
            is_reusable = True
        except FunctionFailedError:
            is_reusable = True
            raise
        except TimeoutError as error:
            message = f"{self.function.name} timed out after {self.function.timeout_s:g} s"
            raise FunctionTimeoutError(message) from error
        finally:
            self._release(environment) if is_reusable else self._discard(environment)
        return result

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

    async def _acquire(self) -> Environment:
        while self._idle:
            environment = self._idle.pop()
            if environment.is_alive:
                return environment
            self._discard(environment)
        if len(self._waiting) >= self._max_waiting or self._size == 0:
            raise ThrottledError(f"{self.function.name} has {len(self._waiting)} callers waiting")
        turn: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._start_if_needed()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release(turn.result())
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
            self._release(environment)

    def _release(self, environment: Environment) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(environment)
                return
        environment.idle_since = time.monotonic()
        self._idle.append(environment)

    def _discard(self, environment: Environment) -> None:
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
