"""The process's connections to providers: httpx's engine on sockets that keep deadlines.

The engine is used without httpx's client above it: redirects, cookies, proxies and content
decoding are what a gateway must not do by itself, and they cost half of a request's CPU time.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache

import certifi
import httpcore

from shared.config import Settings, get_settings
from shared.providers.deadline import Deadline
from shared.providers.failures import ErrorClass, UpstreamCallError
from shared.providers.network import PatientBackend
from shared.providers.patience import Patience

Header = tuple[bytes, bytes]
# Idle connections are kept for less than the 60 s after which common load balancers drop them.
_KEEP_IDLE_S = 45.0
_KEEP_IDLE = 64
_ENGINE_ERRORS = (
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)  # fmt: skip
_DETAILS: dict[str, str] = {
    "connect": "could not connect",
    "cut": "broke off",
    "first-byte-timeout": "did not begin to answer in time",
    "idle-timeout": "fell silent",
    "malformed": "does not speak HTTP",
    "secret": "its key cannot be sent in a header",
    "timeout": "did not answer in time",
}


class UpstreamClient:
    """Pooled connections and the waits of every call. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self.first_byte_s = settings.upstream_first_byte_timeout_s
        self.idle_s = settings.upstream_idle_timeout_s
        self._connect_s = settings.upstream_connect_timeout_s
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(settings.upstream_ca_file),
            max_connections=None,
            max_keepalive_connections=_KEEP_IDLE,
            keepalive_expiry=_KEEP_IDLE_S,
            network_backend=PatientBackend(),
        )

    def post(
        self, url: httpcore.URL, headers: Sequence[Header], content: bytes, deadline: Deadline
    ) -> Reply:
        """Send a request and return its reply as soon as the reply's headers are there.

        Raises
        ------
        UpstreamCallError
            ``connect``, ``timeout``, ``first-byte-timeout``, ``cut`` or ``malformed``.
        """
        patience = Patience(deadline, self._connect_s, self.first_byte_s)
        waits = {"connect": patience, "read": patience, "write": patience}
        request = httpcore.Request(
            "POST",
            url,
            headers=[*headers, (b"Content-Length", b"%d" % len(content))],
            content=content,
            extensions={"timeout": waits},
        )
        try:
            return Reply(self._pool.handle_request(request), patience)
        except _ENGINE_ERRORS as error:
            raise _failure(error, patience) from error

    def close(self) -> None:
        """Close every connection, also those in use."""
        self._pool.close()

    def __del__(self) -> None:
        # Two threads may be the first to want the process's client; one of the two made is dropped.
        self.close()


class Reply:
    """A reply whose body is still to be read. Always ``close`` it."""

    def __init__(self, response: httpcore.Response, patience: Patience) -> None:
        self.status: int = response.status
        self.patience = patience
        self._headers = {name.lower(): value for name, value in response.headers}
        self._response = response
        self._lock = threading.Lock()
        self._is_closed = False
        # What was sent to prove who we are: some providers repeat it in their complaints.
        self.credential = ""

    def header(self, name: str) -> str | None:
        """Return a header's value by its lower-case name; of repeated ones the last."""
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Raises
        ------
        UpstreamCallError
            ``timeout``, ``idle-timeout``, ``first-byte-timeout``, ``cut`` or ``malformed``.
        """
        try:
            yield from self._response.iter_stream()
        except _ENGINE_ERRORS as error:
            raise _failure(error, self.patience) from error

    def interrupt(self) -> None:
        """End the wait of the thread that reads, which then closes; from any thread.

        Closing from another thread would free the descriptor under the reader's eyes, who would
        then wait for whatever gets its number next.
        """
        # After its end the connection may already serve somebody else.
        with self._lock:
            if not self._is_closed:
                self._response.extensions["network_stream"].shut_down()

    def close(self) -> None:
        """Give the connection back, or close it if its body was not read to the end. Idempotent."""
        with self._lock:
            self._is_closed = True
        self._response.close()


def _failure(error: Exception, patience: Patience) -> UpstreamCallError:
    """Return what went wrong, by what the engine says and what the socket saw."""
    error_class: ErrorClass
    if isinstance(error, (httpcore.ConnectTimeout, httpcore.ConnectError)):
        error_class = "timeout" if patience.is_over() else "connect"
    elif isinstance(error, httpcore.TimeoutException):
        error_class = patience.expired()
    elif isinstance(error, httpcore.UnsupportedProtocol):
        error_class = "connect"
    elif isinstance(error, httpcore.LocalProtocolError):
        # Of what is sent, only the key was not written or checked by us.
        error_class = "secret"
    elif isinstance(error, httpcore.RemoteProtocolError) and not patience.ended:
        error_class = "malformed"
    else:
        error_class = "cut"
    return UpstreamCallError(error_class, _DETAILS[error_class], unanswered=not patience.received)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Return what the engine would otherwise build anew, in 15 ms, for each connection."""
    context = ssl.create_default_context(cafile=certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


@lru_cache(maxsize=1)
def get_client() -> UpstreamClient:
    """Return the process's client."""
    return UpstreamClient(get_settings())
