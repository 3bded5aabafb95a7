"""Execution environments from the outside: one process each, one event at a time."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from infra.local.pool import (
    FunctionCrashedError,
    FunctionFailedError,
    FunctionInitError,
    FunctionTimeoutError,
    Pool,
    RequestTooLargeError,
)
from infra.local.system import Function

MAX_EVENT_BYTES = 6 * 1024 * 1024
# Lambda gives INIT 10 s on a machine of its own; a laptop may start a dozen at once.
INIT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 2.0
_LENGTH = struct.Struct(">I")


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
            async with asyncio.timeout(INIT_TIMEOUT_S):
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
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
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


class FunctionPool(Pool[Environment]):
    """The environments of a function with a handler."""

    async def invoke(self, event: Mapping[str, Any]) -> Any:
        """Run one event and return the handler's result.

        Raises
        ------
        InvocationError
            See the tree in ``infra.local.pool``.
        """
        payload = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")
        if len(payload) > MAX_EVENT_BYTES:
            raise RequestTooLargeError(f"the event has {len(payload)} bytes, over 6 MB")
        environment = await self.acquire()
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
            self.release(environment) if is_reusable else self.discard(environment)
        return result
