"""Execution environments that serve HTTP themselves, as behind AWS's Lambda Web Adapter.

The function's handler is a command (``run.sh``) that listens on ``AWS_LWA_PORT``. The environment
is ready when it answers ``GET /``, takes one request at a time, and its response passes on part
by part. Left out: what the adapter tells an application about the event in its own headers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httptools

from infra.local.environments import INIT_TIMEOUT_S, STOP_TIMEOUT_S
from infra.local.pool import FunctionCrashedError, FunctionInitError, FunctionTimeoutError, Pool
from infra.local.system import Function

_READY = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
_POLL_S = 0.02
_READ_BYTES = 65_536
_PART_OF_CONNECTION = {
    b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
}  # fmt: skip

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Server:
    """One process that serves HTTP on a port of its own, over one kept-alive connection."""

    def __init__(self, function: Function, process: asyncio.subprocess.Process, port: int) -> None:
        self._function = function
        self._process = process
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.idle_since = time.monotonic()

    @classmethod
    async def start(
        cls, function: Function, *, variables: Mapping[str, str], directory: Path, log: Path
    ) -> Server:
        """Run the function's command and wait until it answers.

        Raises
        ------
        FunctionInitError
            If it ends before, or takes too long.
        """
        port = _free_port()
        search = f"{Path(sys.executable).parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
        environment = {
            **variables, "AWS_LWA_PORT": str(port), "LAMBDA_TASK_ROOT": str(directory),
            "PATH": search,
        }  # fmt: skip
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                directory / function.handler,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory,
                env=environment, start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip
        server = cls(function, process, port)
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S):
                await server.until_ready()
        except (TimeoutError, FunctionCrashedError) as error:
            await server.kill()
            raise FunctionInitError(f"{function.name} did not get ready; see {log}") from error
        except asyncio.CancelledError:
            await server.kill()
            raise
        return server

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def until_ready(self) -> None:
        """Return when the application answers, whatever it says, as the adapter takes it.

        Raises
        ------
        FunctionCrashedError
            If the process has ended.
        """
        while True:
            try:
                await self.exchange(_READY, _ignore)
            except OSError:
                if not self.is_alive:
                    raise FunctionCrashedError(f"{self._function.name} ended") from None
                await asyncio.sleep(_POLL_S)
            else:
                return

    async def exchange(self, request: bytes, send: Send) -> None:
        """Send one request and pass its response on in ASGI's messages.

        Raises
        ------
        OSError
            If the connection breaks before the response is complete.
        """
        reader, writer = await self._connected()
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        try:
            writer.write(request)
            while not response.is_complete:
                data = await reader.read(_READ_BYTES)
                if not data:
                    raise ConnectionResetError(f"{self._function.name} hung up")
                parser.feed_data(data)
                for message in response.take(parser):
                    await send(message)
        except httptools.HttpParserError as error:
            raise ConnectionResetError(f"{self._function.name} does not speak HTTP") from error
        finally:
            if not response.is_complete or not parser.should_keep_alive():
                self.hang_up()

    def hang_up(self) -> None:
        """Close the connection; an exchange under way ends with an error."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def stop(self) -> None:
        """Let the server finish, for a moment; then kill it."""
        self.hang_up()
        if self.is_alive:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        self.hang_up()
        if self.is_alive:
            self._process.kill()
        await self._process.wait()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self.hang_up()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams


class ServerPool(Pool[Server]):
    """The environments of a function that serves HTTP."""

    def __init__(
        self,
        function: Function,
        start: Callable[[Function], Awaitable[Server]],
        max_environments: int,
    ) -> None:
        super().__init__(function, start, max_environments)
        self._recovering: set[asyncio.Task[None]] = set()

    async def serve(
        self, request: bytes, receive: Receive, send: Send, *, limit_s: float | None = None
    ) -> None:
        """Pass a request to an environment and its response on, part by part.

        When the client leaves, the connection to the application is closed, which is how the
        application hears of it; the environment is used again once it answers again.

        Parameters
        ----------
        limit_s : float, optional
            The route's own limit, if it is shorter than the function's.

        Raises
        ------
        InvocationError
            Without a response, or in the middle of one: see the tree in ``infra.local.pool``.
        """
        limit_s = min(self.function.timeout_s, limit_s or self.function.timeout_s)
        server = await self.acquire()
        client = _Client(receive, server)
        is_reusable = False
        try:
            async with asyncio.timeout(limit_s):
                await server.exchange(request, send)
            is_reusable = True
        except TimeoutError as error:
            message = f"{self.function.name} timed out after {limit_s:g} s"
            raise FunctionTimeoutError(message) from error
        except OSError as error:
            if not client.has_left:
                raise FunctionCrashedError(f"{self.function.name}: {error}") from error
        finally:
            client.forget()
            if is_reusable:
                self.release(server)
            elif client.has_left:
                task = asyncio.create_task(self._recover(server))
                self._recovering.add(task)
                task.add_done_callback(self._recovering.discard)
            else:
                self.discard(server)

    async def close(self) -> None:
        for task in self._recovering:
            task.cancel()
        await super().close()

    async def _recover(self, server: Server) -> None:
        """Keep a server that was hung up on, if it comes to its end within the function's time."""
        try:
            async with asyncio.timeout(self.function.timeout_s):
                await server.until_ready()
        except (TimeoutError, FunctionCrashedError):
            self.discard(server)
        else:
            self.release(server)


class _Client:
    """Watches for the client's end and hangs up on the server then."""

    def __init__(self, receive: Receive, server: Server) -> None:
        self._receive = receive
        self._server = server
        self.has_left = False
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        self._server.hang_up()

    def forget(self) -> None:
        self._watching.cancel()


class _Response:
    """What the parser has found, until it is taken as ASGI's messages."""

    def __init__(self) -> None:
        self.is_complete = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._has_head = False
        self._has_passed_head = False
        self._parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.is_complete = True

    def take(self, parser: httptools.HttpResponseParser) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if not self._has_head:
            return messages
        if not self._has_passed_head:
            self._has_passed_head = True
            headers = [h for h in self._headers if h[0] not in _PART_OF_CONNECTION]
            status = parser.get_status_code()
            messages.append({"type": "http.response.start", "status": status, "headers": headers})
        if self._parts or self.is_complete:
            body, self._parts = b"".join(self._parts), []
            more = not self.is_complete
            messages.append({"type": "http.response.body", "body": body, "more_body": more})
        return messages


def build_request(scope: Mapping[str, Any], body: bytes) -> bytes:
    """Return the request that the adapter makes of an event, from the client's ASGI ``scope``."""
    given: list[tuple[bytes, bytes]] = scope["headers"]
    headers = [h for h in given if h[0] not in _PART_OF_CONNECTION | {b"content-length"}]
    source = scope["client"][0] if scope.get("client") else "127.0.0.1"
    forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
    headers = [h for h in headers if h[0] != b"x-forwarded-for"]
    headers += [
        (b"x-forwarded-for", b", ".join([*forwarded, source.encode()])),
        (b"x-forwarded-proto", scope["scheme"].encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    line = b"%s %s%s HTTP/1.1" % (scope["method"].encode(), scope["raw_path"], query)
    head = b"\r\n".join([line, *(b"%s: %s" % header for header in headers)])
    return head + b"\r\n\r\n" + body


def die_with_parent() -> None:
    """Ask Linux to kill this child when its parent is gone, however it went."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ignore(_message: dict[str, Any]) -> None:
    pass
