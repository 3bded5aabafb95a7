"""A server that answers each request with the bytes that a test dictates, pause by pause."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

Script = Callable[[socket.socket], None]
"""Answers one request; what it leaves open is kept alive for the next."""


def head(status: int = 200, content_type: str = "application/json", **headers: object) -> bytes:
    """Return a response's head; the body is whatever comes until the connection closes, unless
    ``content_length`` or ``transfer_encoding`` says otherwise.
    """
    lines = [f"HTTP/1.1 {status} Said", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def document(
    body: object, status: int = 200, content_type: str = "application/json", **headers: object
) -> Script:
    """Answer with a document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = head(status, content_type, content_length=len(content), **headers) + content
    return lambda connection: connection.sendall(answer)


def events(*data: object, pieces: int = 0, ends: bool = True) -> Script:
    """Answer with a chunked event stream of these data, in pieces of so many bytes; without
    ``ends`` the connection breaks instead of ending.
    """
    stream = b"".join(b"data: " + _data(item) + b"\n\n" for item in data)

    def answer(connection: socket.socket) -> None:
        connection.sendall(head(content_type="text/event-stream", transfer_encoding="chunked"))
        size = pieces or max(len(stream), 1)
        for start in range(0, len(stream), size):
            connection.sendall(chunked(stream[start : start + size]))
        if ends:
            connection.sendall(b"0\r\n\r\n")
        else:
            raise ConnectionAbortedError

    return answer


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n" % len(piece) + piece + b"\r\n"


def _data(item: object) -> bytes:
    return item if isinstance(item, bytes) else json.dumps(item).encode()


class ScriptedServer:
    """Give it scripts: one for each request, the last one for all that follow."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.scripts: Sequence[Script] = ()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.hung_up = threading.Event()
        """Set when a client closed a connection, or broke it."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def reset(self, *scripts: Script) -> None:
        self.scripts, self.connections = scripts, 0
        self.requests.clear()
        self.headers.clear()
        self.hung_up.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        yield
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        # A script breaks the connection by raising any OSError.
        with (
            suppress(OSError),
            self._secured(accepted) as connection,
            connection.makefile("rb") as file,
        ):
            while file.readline().startswith(b"POST "):
                lines = iter(lambda: file.readline().strip(), b"")
                headers = dict(line.decode().lower().split(": ", 1) for line in lines)
                self.requests.append(json.loads(file.read(int(headers["content-length"]))))
                self.headers.append(headers)
                self.scripts[min(len(self.requests), len(self.scripts)) - 1](connection)
        self.hung_up.set()

    def _secured(self, plain: socket.socket) -> socket.socket:
        if self._tls is None:
            return plain
        return self._tls.wrap_socket(plain, server_side=True)
