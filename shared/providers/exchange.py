"""One request to a provider and its answer as a document: sent, read, checked, classified."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from shared.errors import UnavailableError
from shared.providers.classify import class_of_answer
from shared.providers.client import Origin, Reply, UpstreamClient
from shared.providers.deadline import Deadline
from shared.providers.failures import UpstreamCallError
from shared.providers.http1 import Header
from shared.providers.presets import AuthStyle, preset_of
from shared.providers.retry_after import retry_after_s
from shared.providers.upstream import Upstream
from shared.secrets import read_provider_secret

MAX_ANSWER_BYTES = 5_000_000
_URL_SAFE = "/%?:@!$&'()*+,;=~"
_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Answered:
    """A successful answer's document. ``latency_ms`` is what counts for this model."""

    document: dict[str, Any]
    status: int
    latency_ms: float
    measured_ms: float


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What of a request never changes between calls of one model."""

    origin: Origin
    target: bytes
    headers: tuple[Header, ...]
    auth: AuthStyle


def ask(
    client: UpstreamClient, upstream: Upstream, path: str, payload: dict[str, Any],
    deadline: Deadline,
) -> Answered:  # fmt: skip
    """Post ``payload`` (with the upstream's name of the model) and return the document answered.

    Raises
    ------
    UpstreamCallError
        Of any class, with the time it took.
    """
    started_at = time.perf_counter()
    with timed_failures(started_at):
        with opened(client, upstream, path, payload, deadline) as reply:
            content = read_all(reply)
        measured_ms = (time.perf_counter() - started_at) * 1000
        document = parse_document(reply, content)
    return Answered(
        document, reply.status, reported_ms(reply, upstream, measured_ms), measured_ms
    )  # fmt: skip


@contextmanager
def timed_failures(started_at: float) -> Iterator[None]:
    """Note on a failure how long the call took."""
    try:
        yield
    except UpstreamCallError as error:
        error.latency_ms = (time.perf_counter() - started_at) * 1000
        raise


@contextmanager
def opened(
    client: UpstreamClient, upstream: Upstream, path: str, payload: dict[str, Any],
    deadline: Deadline,
) -> Iterator[Reply]:  # fmt: skip
    """Post ``payload`` and yield the reply; closes it."""
    reply = post(client, upstream, path, payload, deadline)
    try:
        yield reply
    finally:
        reply.close()


def post(
    client: UpstreamClient, upstream: Upstream, path: str, payload: dict[str, Any],
    deadline: Deadline,
) -> Reply:  # fmt: skip
    """Post ``payload``, with the upstream's name of the model, and return the open reply."""
    endpoint = _endpoint(upstream.provider, upstream.base_url, path)
    content = _ENCODE({**payload, "model": upstream.upstream_name}).encode()
    proof = _authorization(upstream.secret_ref, endpoint.auth)
    headers = (*endpoint.headers, *proof)
    reply = client.post(endpoint.origin, endpoint.target, headers, content, deadline)
    if proof:
        reply.credential = proof[0][1].decode("latin-1").rpartition(" ")[2]
    return reply


def read_all(reply: Reply) -> bytes:
    """Return the whole body, decompressed.

    Raises
    ------
    UpstreamCallError
        ``too-large`` above ``MAX_ANSWER_BYTES`` once decompressed; ``content-type`` for an
        encoding that nobody asked for.
    """
    decode = decoder(reply)
    content = bytearray()
    for piece in reply.pieces():
        content += decode(piece, MAX_ANSWER_BYTES + 1 - len(content))
        if len(content) > MAX_ANSWER_BYTES:
            raise UpstreamCallError(
                "too-large", "answered more than anyone can use", status=reply.status
            )
    return bytes(content)


def parse_document(reply: Reply, content: bytes) -> dict[str, Any]:
    """Return the answer's document.

    Raises
    ------
    UpstreamCallError
        If the status says so, the document holds an error, or it is no JSON object.
    """
    document = parse(content)
    said = document if isinstance(document, dict) and document.get("error") else None
    if not 200 <= reply.status < 300 or said is not None:
        raise refused(reply, said)
    if isinstance(document, dict):
        return document
    if not content.strip():
        raise UpstreamCallError("empty", "answered with nothing", status=reply.status)
    if is_html(reply):
        raise UpstreamCallError("content-type", "answered with a web page", status=reply.status)
    raise UpstreamCallError("malformed", "answered with no JSON object", status=reply.status)


def refused(reply: Reply, document: dict[str, Any] | None) -> UpstreamCallError:
    """Return the failure that a reply's status, or the error in its document, tells."""
    advice = reply.header("x-should-retry")
    return UpstreamCallError(
        class_of_answer(reply.status, document),
        f"answered {reply.status}",
        status=reply.status,
        body=_without(reply.credential, document),
        retry_after_s=retry_after_s(reply.header, time.time()),
        should_retry={"true": True, "false": False}.get(advice or ""),
    )


def _without(credential: str, document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a provider's complaint, which callers read, without our key to it."""
    if document is None or not credential:
        return document
    said, key = _ENCODE(document), _ENCODE(credential)[1:-1]
    cleaned: dict[str, Any] = _DECODE(said.replace(key, "[removed]"))  # type: ignore[assignment]
    return cleaned


def parse(content: bytes) -> object:
    """Return the document, or None of anything that is not strictly JSON."""
    try:
        return _DECODE(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODE: Callable[[str], object] = json.JSONDecoder(parse_constant=_refuse_constant).decode


def count(usage: object, name: str) -> int | None:
    """Return a plausible token count; providers send null, text and nonsense."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        return None
    return value


def reported_ms(reply: Reply, upstream: Upstream, measured_ms: float) -> float:
    """Return the time that counts: the provider's own figure, if the registry says to take it."""
    if upstream.latency_source != "reported":
        return measured_ms
    try:
        reported = float(reply.header("openai-processing-ms") or "")
    except ValueError:
        return measured_ms
    return reported if 0 <= reported < 86_400_000 else measured_ms


def is_html(reply: Reply) -> bool:
    """Whether a reply says that it is a web page: a proxy's, a login's, a captive portal's."""
    return "html" in (reply.header("content-type") or "")


def decoder(reply: Reply) -> Callable[[bytes, int], bytes]:
    """Return ``decode(piece, at_most)``. Plain text is asked for; some proxies compress anyway."""
    encoding = (reply.header("content-encoding") or "identity").lower()
    if encoding == "identity":
        return lambda piece, _at_most: piece
    if encoding not in {"gzip", "deflate"}:
        raise UpstreamCallError("content-type", f"answered in {encoding[:40]}", status=reply.status)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def decode(piece: bytes, at_most: int) -> bytes:
        try:
            # Never inflates further than what is wanted: a bomb stays folded.
            return inflate.decompress(inflate.unconsumed_tail + piece, max(at_most, 1))
        except zlib.error as error:
            raise UpstreamCallError(
                "malformed", "answered broken gzip", status=reply.status
            ) from error

    return decode


@lru_cache(maxsize=1024)
def _endpoint(provider: str, base_url: str, path: str) -> _Endpoint:
    try:
        parts = urlsplit(base_url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # A query of the base (Azure's api-version) stays at the end.
        target = quote(
            f"{parts.path.rstrip('/')}{path}?{parts.query}".rstrip("?"), safe=_URL_SAFE
        ).encode()
    except (ValueError, UnicodeError) as error:
        raise UpstreamCallError("connect", "could not connect") from error
    headers = (
        (b"Host", parts.netloc.rpartition("@")[2].encode("idna")),
        (b"Accept", b"application/json, text/event-stream"),
        (b"Accept-Encoding", b"identity"),
        (b"Content-Type", b"application/json"),
        (b"User-Agent", b"davinci"),
    )
    return _Endpoint(Origin(parts.scheme, host, port), target, headers, preset_of(provider).auth)


def _authorization(secret_ref: str | None, auth: AuthStyle) -> tuple[Header, ...]:
    if secret_ref is None:
        return ()
    try:
        key = read_provider_secret(secret_ref).strip().encode("latin-1")
    except UnavailableError as error:
        raise UpstreamCallError("secret", error.detail) from error
    except UnicodeError as error:
        raise UpstreamCallError("secret", "its key cannot be sent in a header") from error
    if auth == "bearer":
        return ((b"Authorization", b"Bearer " + key),)
    return ((b"api-key", key),) if auth == "api-key" else ()
