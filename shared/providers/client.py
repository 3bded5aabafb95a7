"""The process's connections to providers, and the waits of every call."""

from __future__ import annotations

import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple

import certifi

from shared.config import Settings, get_settings
from shared.providers.deadline import Deadline
from shared.providers.failures import ErrorClass, UpstreamCallError
from shared.providers.http1 import (
    BrokenOffError,
    Header,
    NotHttpError,
    Response,
    UnsendableError,
    head_of,
)
from shared.providers.network import ConnectError, PatientSocket, connect
from shared.providers.patience import OutOfPatienceError, Patience

# Idle connections are kept for less than the 60 s after which common load balancers drop them.
_KEEP_IDLE_S = 45.0
_KEEP_IDLE = 64
_DETAILS: dict[str, str] = {
    "connect": "could not connect",
    "cut": "broke off",
    "first-byte-timeout": "did not begin to answer in time",
    "idle-timeout": "fell silent",
    "malformed": "does not speak HTTP",
    "secret": "its key cannot be sent in a header",
    "timeout": "did not answer in time",
}


class Origin(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    port: int


class _Idle(NamedTuple):
    origin: Origin
    connection: PatientSocket
    since: float


class UpstreamClient:
    """Pooled connections. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self.first_byte_s = settings.upstream_first_byte_timeout_s
        self.idle_s = settings.upstream_idle_timeout_s
        self._connect_s = settings.upstream_connect_timeout_s
        self._tls = _tls(settings.upstream_ca_file)
        self._lock = threading.Lock()
        # The one used last is at the right: those that nobody needs grow old at the left.
        self._idle: deque[_Idle] = deque()

    def post(
        self, origin: Origin, target: bytes, headers: Sequence[Header], content: bytes,
        deadline: Deadline,
    ) -> Reply:  # fmt: skip
        """Send a request and return its reply as soon as the reply's headers are there.

        Raises
        ------
        UpstreamCallError
            ``connect``, ``timeout``, ``first-byte-timeout``, ``cut``, ``malformed`` or ``secret``.
        """
        patience = Patience(deadline, self._connect_s, self.first_byte_s)
        with _classified(patience):
            request = head_of(target, headers, len(content)) + content
            connection = self._take(origin) or self._connect(origin, patience)
            try:
                # A server may refuse before it has read everything, and hang up: hear it out.
                with suppress(OSError):
                    connection.send(request, patience)
                response = Response(connection, patience)
            except BaseException:
                connection.close()
                raise
        return Reply(self, origin, response, patience)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for held in idle:
            held.connection.close()

    def __del__(self) -> None:
        # Two threads may be the first to want the process's client; one of the two made is dropped.
        self.close()

    def give_back(self, origin: Origin, connection: PatientSocket) -> None:
        """Keep a connection for the next request."""
        now = time.monotonic()
        with self._lock:
            self._idle.append(_Idle(origin, connection, now))
            spare = []
            while len(self._idle) > _KEEP_IDLE or now - self._idle[0].since > _KEEP_IDLE_S:
                spare.append(self._idle.popleft())
        for held in spare:
            held.connection.close()

    def _take(self, origin: Origin) -> PatientSocket | None:
        """Return the connection to ``origin`` that was used last and still stands."""
        while (held := self._pop(origin)) is not None:
            if time.monotonic() - held.since <= _KEEP_IDLE_S and held.connection.is_silent():
                return held.connection
            held.connection.close()
        return None

    def _pop(self, origin: Origin) -> _Idle | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place].origin == origin:
                    held = self._idle[place]
                    del self._idle[place]
                    return held
        return None

    def _connect(self, origin: Origin, patience: Patience) -> PatientSocket:
        if origin.scheme not in {"http", "https"}:
            raise ConnectError(f"no way to speak {origin.scheme!r}")
        tls = self._tls if origin.scheme == "https" else None
        return connect(origin.host, origin.port, tls, patience)


class Reply:
    """A reply whose body is still to be read. Always ``close`` it."""

    def __init__(
        self, client: UpstreamClient, origin: Origin, response: Response, patience: Patience
    ) -> None:
        self.status = response.status
        self.patience = patience
        self._client = client
        self._origin = origin
        self._response = response
        self._lock = threading.Lock()
        self._is_closed = False
        # What was sent to prove who we are: some providers repeat it in their complaints.
        self.credential = ""

    def header(self, name: str) -> str | None:
        """Return a header's value by its lower-case name; of repeated ones the last."""
        value = self._response.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Raises
        ------
        UpstreamCallError
            ``timeout``, ``idle-timeout``, ``first-byte-timeout``, ``cut`` or ``malformed``.
        """
        with _classified(self.patience):
            yield from self._response.pieces()

    def interrupt(self) -> None:
        """End the wait of the thread that reads, which then closes; from any thread.

        Closing from another thread would free the descriptor under the reader's eyes, who would
        then wait for whatever gets its number next.
        """
        # After its end the connection may already serve somebody else.
        with self._lock:
            if not self._is_closed:
                self._response.connection.shut_down()

    def close(self) -> None:
        """Give the connection back, or close it if its body was not read to the end. Idempotent."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        if self._response.is_reusable:
            self._client.give_back(self._origin, self._response.connection)
        else:
            self._response.connection.close()


@contextmanager
def _classified(patience: Patience) -> Iterator[None]:
    """Turn what went wrong on the wire into a failure of the call."""
    try:
        yield
    except ConnectError as error:
        raise _failure("timeout" if patience.is_over() else "connect", patience) from error
    except (OutOfPatienceError, TimeoutError) as error:
        raise _failure(patience.expired(), patience) from error
    except NotHttpError as error:
        raise _failure("malformed", patience) from error
    except UnsendableError as error:
        # Of what is sent, only the key was not written or checked by us.
        raise _failure("secret", patience) from error
    except (BrokenOffError, OSError) as error:
        raise _failure("cut", patience) from error


def _failure(error_class: ErrorClass, patience: Patience) -> UpstreamCallError:
    return UpstreamCallError(error_class, _DETAILS[error_class], unanswered=not patience.received)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Return what costs 15 ms to build."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


@lru_cache(maxsize=1)
def get_client() -> UpstreamClient:
    """Return the process's client."""
    return UpstreamClient(get_settings())
