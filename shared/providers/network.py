"""Sockets for httpx's engine that never wait longer than a call has patience.

The engine hands a request's timeout through to these untouched, so it may be a ``Patience``.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore

from shared.providers.patience import OutOfPatienceError, Patience

_LEAST_CONNECT_S = 0.05


class PatientBackend(httpcore.NetworkBackend):
    """Resolves and connects within the call's patience, trying every address."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Any = None,
        local_address: str | None = None,  # noqa: ARG002 - the engine's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        patience: Patience = timeout
        try:
            return PatientStream(_connect(host, port, patience))
        except (OutOfPatienceError, TimeoutError) as error:
            raise httpcore.ConnectTimeout from error
        # A name that is no name, a port that is no port.
        except (OSError, OverflowError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error


class PatientStream(httpcore.NetworkStream):
    """A connected socket. A request's head and body leave together: the engine writes them apart,
    then nothing, and a packet of its own for the head would wake the server twice.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._unsent: list[bytes] = []

    def read(self, max_bytes: int, timeout: Any = None) -> bytes:
        patience: Patience = timeout
        if self._unsent:
            self._send(patience)
        try:
            self._socket.settimeout(patience.left_s())
            data = self._socket.recv(max_bytes)
        except (OutOfPatienceError, TimeoutError) as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        if data:
            patience.received = True
        else:
            patience.ended = True
        return data

    def write(self, buffer: bytes, timeout: Any = None) -> None:
        if buffer:
            self._unsent.append(buffer)
        elif self._unsent:
            self._send(timeout)

    def _send(self, patience: Patience) -> None:
        content = b"".join(self._unsent)
        self._unsent.clear()
        try:
            # sendall takes its timeout for the whole of it, however slowly the peer reads.
            self._socket.settimeout(patience.left_s())
            self._socket.sendall(content)
        except (OutOfPatienceError, TimeoutError) as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def shut_down(self) -> None:
        """End the connection for whoever reads or writes; the descriptor stays until ``close``."""
        with suppress(OSError):
            # The socket's own: that of a TLS socket also takes TLS away from under a reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self.shut_down()
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Any = None
    ) -> httpcore.NetworkStream:
        patience: Patience = timeout
        try:
            self._socket.settimeout(patience.connect_left_s())
            # The handshake's timeout, too, is for the whole of it.
            return PatientStream(
                ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
            )
        except (OutOfPatienceError, TimeoutError) as error:
            self.close()
            raise httpcore.ConnectTimeout from error
        except (OSError, ValueError) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        """Answer what the engine asks of a pooled connection: has the peer closed it meanwhile?"""
        if info == "is_readable":
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None


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
