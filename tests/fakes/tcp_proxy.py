"""A TCP proxy before a PostgreSQL on a Unix socket: sniffs, resets, freezes, refuses."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ONE_SHOT_LINGER = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards 127.0.0.1:``port`` to ``unix_path``; ``sent`` holds each client's bytes."""

    def __init__(self, unix_path: str) -> None:
        self._unix_path = unix_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent: list[bytearray] = []
        self.refusing = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._doomed: list[tuple[socket.socket, socket.socket]] = []
        self._open = threading.Event()
        self._open.set()
        self._threads: list[threading.Thread] = []

    @contextmanager
    def running(self) -> Iterator[TcpProxy]:
        self._start(self._accept)
        try:
            yield self
        finally:
            self._open.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self.finish()
            for thread in self._threads:
                thread.join(5)

    def reset(self) -> None:
        """Cut every connection with a TCP RST."""
        self._cut(linger=True)

    def reset_when_spoken_to(self) -> None:
        """Answer the next message of each connection with a TCP RST, as a lost peer's host does."""
        self._doomed = list(self._pairs)

    def finish(self) -> None:
        """Close every connection in order, with a FIN."""
        self._cut(linger=False)

    def freeze(self) -> None:
        """Swallow what comes: a black hole. ``thaw`` lets it through again."""
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def _cut(self, *, linger: bool) -> None:
        pairs, self._pairs = self._pairs, []
        for client, server in pairs:
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ONE_SHOT_LINGER)
            else:
                _shut(client)
            client.close()
            _shut(server)
            server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._unix_path)
            record = bytearray()
            self.sent.append(record)
            self._pairs.append((client, server))
            self._start(self._pump, client, server, record)
            self._start(self._pump, server, client, None)

    def _pump(self, source: socket.socket, target: socket.socket, record: bytearray | None) -> None:
        source.settimeout(0.05)
        while True:
            try:
                data = source.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                return
            if any(source is client for client, _ in self._doomed):
                self._doomed.clear()
                self.reset()
                return
            if record is not None:
                record += data
            self._open.wait()
            try:
                if not data:
                    # Of a connection that is being cut, an end passed on would be a FIN.
                    if any(source in pair for pair in self._pairs):
                        target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                return

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _shut(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
