"""Sockets that never wait longer than a call has patience."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from shared.kit.turns import resting
from shared.kit.waiting import elsewhere, until_ready
from shared.providers.patience import OutOfPatienceError, Patience

_LEAST_CONNECT_S = 0.05
_MOST_AT_ONCE = 65_536


class ConnectError(Exception):
    """No connection came about; its cause says why."""


class PatientSocket:
    """A connected socket. It does not block: each wait is for as long as there is patience."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._silence = select.poll()
        self._silence.register(connected, select.POLLIN)

    def send(self, content: bytes, patience: Patience) -> None:
        """Send everything.

        Raises
        ------
        OutOfPatienceError
            If the peer does not read in time.
        OSError
            If the connection is broken.
        """
        left = memoryview(content)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(patience, to_write=True)
            except ssl.SSLWantReadError:
                self._wait(patience)

    def receive(self, patience: Patience) -> bytes:
        """Return what comes next; nothing at the end.

        Raises
        ------
        OutOfPatienceError
            If nothing comes in time.
        OSError
            If the connection is broken.
        """
        while True:
            # What TLS has decrypted already makes no socket readable.
            if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
                self._wait(patience)
            try:
                data = self._socket.recv(_MOST_AT_ONCE)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except ssl.SSLWantWriteError:
                self._wait(patience, to_write=True)
                continue
            if data:
                patience.received = True
            else:
                patience.ended = True
            return data

    def is_silent(self) -> bool:
        """Whether an idle connection is as it was left: the peer neither said more nor went."""
        return not self._silence.poll(0)

    def shut_down(self) -> None:
        """End the connection for whoever reads or writes; the descriptor stays until ``close``."""
        with suppress(OSError):
            # The socket's own: that of a TLS socket also takes TLS away from under a reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self.shut_down()
        self._socket.close()

    def _wait(self, patience: Patience, *, to_write: bool = False) -> None:
        if not until_ready(self._socket.fileno(), patience.left_s(), to_write=to_write):
            raise OutOfPatienceError


def connect(host: str, port: int, tls: ssl.SSLContext | None, patience: Patience) -> PatientSocket:
    """Resolve, connect and, with ``tls``, shake hands; every address is tried.

    Raises
    ------
    ConnectError
        If nobody is there, or not in time.
    """
    with resting():
        return elsewhere(lambda: _connected(host, port, tls, patience))


def _connected(
    host: str, port: int, tls: ssl.SSLContext | None, patience: Patience
) -> PatientSocket:
    try:
        connected = _connect(host, port, patience)
    # A name that is no name, a port that is no port.
    except (OutOfPatienceError, OSError, OverflowError, UnicodeError) as error:
        raise ConnectError(str(error)) from error
    if tls is None:
        return PatientSocket(connected)
    try:
        # The handshake's timeout is for the whole of it.
        connected.settimeout(patience.connect_left_s())
        return PatientSocket(tls.wrap_socket(connected, server_hostname=host))
    except (OutOfPatienceError, OSError, ValueError) as error:
        connected.close()
        raise ConnectError(str(error)) from error


def _connect(host: str, port: int, patience: Patience) -> socket.socket:
    addresses = _resolve(host, port, patience)
    failure: OSError = OSError(f"{host} has no address")
    for index, (family, kind, protocol, _name, address) in enumerate(addresses):
        # An address that swallows packets must leave time for the ones after it.
        share_s = patience.connect_left_s() / (len(addresses) - index)
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(max(share_s, _LEAST_CONNECT_S))
            candidate.connect(address)
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError) as error:
            candidate.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return candidate
    raise failure


def _resolve(host: str, port: int, patience: Patience) -> list[Any]:
    """Return the host's addresses. The system's resolver knows no timeout of ours, so a name is
    resolved in a thread that is left to itself when patience ends.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    found: list[Any] = []
    failed: list[Exception] = []

    def resolve() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    thread.join(patience.connect_left_s())
    if failed:
        raise failed[0]
    if thread.is_alive():
        raise OutOfPatienceError
    return found
