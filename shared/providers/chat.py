"""One OpenAI-compatible upstream client for every provider.

A failure is classified, never swallowed: the caller decides whether another model may try.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from shared.config import get_settings
from shared.providers.upstream import Upstream
from shared.secrets import read_provider_secret

if TYPE_CHECKING:
    import httpx

ErrorClass = Literal[
    "connect",
    "timeout",
    "cut",
    "malformed",
    "rate-limited",
    "upstream-5xx",
    "rejected",
    "auth",
    "secret",
]
# Worth trying the next model: nothing says that the request itself is at fault.
RETRYABLE: frozenset[str] = frozenset(
    {"connect", "timeout", "cut", "malformed", "rate-limited", "upstream-5xx", "auth", "secret"}
)
_MAX_ANSWER_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed completion. ``latency_ms`` is what counts for this model (see the registry)."""

    body: dict[str, Any]
    status: int
    latency_ms: float
    measured_ms: float
    tokens_in: int
    tokens_out: int
    usage_source: Literal["provider", "missing"]


class UpstreamCallError(Exception):
    """One upstream call failed. ``body`` is the provider's error object, where it sent one."""

    def __init__(
        self,
        error_class: ErrorClass,
        detail: str,
        *,
        status: int | None = None,
        latency_ms: float = 0.0,
        body: dict[str, Any] | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail
        self.status = status
        self.latency_ms = latency_ms
        self.body = body
        self.retry_after = retry_after


@lru_cache(maxsize=1)
def get_client() -> httpx.Client:
    """Return the process's client: connections are kept, proxies of the environment ignored."""
    import httpx

    settings = get_settings()
    timeout = httpx.Timeout(
        settings.upstream_total_timeout_s, connect=settings.upstream_connect_timeout_s
    )
    return httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)


def complete_chat(
    client: httpx.Client, upstream: Upstream, payload: dict[str, Any], timeout_s: float
) -> Answer:
    """Send a chat completion to ``upstream`` and return its answer.

    ``payload`` is the caller's request; only the model's name is replaced.

    Raises
    ------
    UpstreamCallError
        Classified; ``RETRYABLE`` says whether another model may be tried.
    """
    import httpx

    from shared.errors import UnavailableError

    headers = {"accept": "application/json"}
    try:
        if upstream.secret_ref is not None:
            headers["authorization"] = f"Bearer {read_provider_secret(upstream.secret_ref)}"
    except UnavailableError as error:
        raise UpstreamCallError("secret", error.detail) from error
    started_at = time.perf_counter()

    def elapsed_ms() -> float:
        return (time.perf_counter() - started_at) * 1000

    try:
        with client.stream(
            "POST",
            f"{upstream.base_url}/chat/completions",
            json={**payload, "model": upstream.upstream_name},
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
        ) as response:
            content = _read_content(response, started_at + timeout_s)
    except (httpx.ConnectError, httpx.InvalidURL, UnicodeError) as error:
        raise UpstreamCallError("connect", "could not connect", latency_ms=elapsed_ms()) from error
    except httpx.TimeoutException as error:
        raise UpstreamCallError(
            "timeout", "did not answer in time", latency_ms=elapsed_ms()
        ) from error
    except httpx.HTTPError as error:
        raise UpstreamCallError("cut", "broke off", latency_ms=elapsed_ms()) from error
    return _read(response, content, upstream, elapsed_ms())


def _read_content(response: httpx.Response, deadline: float) -> bytes:
    """Return the body, or nothing of one that is too large. httpx limits the wait for each piece
    only, and a provider that drips must not outlast our caller.
    """
    import httpx

    content = b""
    for piece in response.iter_bytes():
        content += piece
        if len(content) > _MAX_ANSWER_BYTES:
            return b""
        if time.perf_counter() > deadline:
            raise httpx.ReadTimeout("the whole answer took too long")
    return content


def _read(
    response: httpx.Response, content: bytes, upstream: Upstream, measured_ms: float
) -> Answer:
    body = _json(content)
    if response.status_code != 200:
        raise UpstreamCallError(
            _class_of(response.status_code),
            f"answered {response.status_code}",
            status=response.status_code,
            latency_ms=measured_ms,
            body=body if isinstance(body, dict) and "error" in body else None,
            retry_after=response.headers.get("retry-after"),
        )
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("choices"), list)
        or not body["choices"]
    ):
        raise UpstreamCallError(
            "malformed", "answered 200 with no choices", status=200, latency_ms=measured_ms
        )
    usage = body.get("usage")
    tokens_in = _count(usage, "prompt_tokens")
    tokens_out = _count(usage, "completion_tokens")
    counted = tokens_out is not None
    return Answer(
        body=body,
        status=200,
        latency_ms=_reported_ms(response, upstream, measured_ms),
        measured_ms=measured_ms,
        tokens_in=(tokens_in or 0) if counted else 0,
        tokens_out=tokens_out or 0,
        usage_source="provider" if counted else "missing",
    )


def _json(content: bytes) -> object:
    """Return the document, or None of anything that is not strictly JSON."""
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _count(usage: object, name: str) -> int | None:
    """Return a plausible token count; providers send null, text and nonsense."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        return None
    return value


def _class_of(status: int) -> ErrorClass:
    if status == 429:
        return "rate-limited"
    if status in {401, 403}:
        return "auth"
    if status == 408:
        return "timeout"
    return "upstream-5xx" if status >= 500 or 300 <= status < 400 else "rejected"


def _reported_ms(response: httpx.Response, upstream: Upstream, measured_ms: float) -> float:
    if upstream.latency_source != "reported":
        return measured_ms
    try:
        reported = float(response.headers["openai-processing-ms"])
    except (KeyError, ValueError):
        return measured_ms
    return reported if 0 <= reported < 86_400_000 else measured_ms
