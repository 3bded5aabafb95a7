"""HTTP calls that outlast a busy or restarting system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from random import Random, SystemRandom
from typing import Any

import httpx

from shared.kit.clock import utc_now

# 409 is not here: only a caller that sends an idempotency key may take it for "in flight".
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CAP_S = 5.0
# A server that fails at the same request again and again will not be talked out of it.
_MOST_500 = 5


class GaveUpError(RuntimeError):
    """The system did not answer within the patience; what was acknowledged stays so."""


@dataclass(frozen=True)
class Backoff:
    """How to wait between attempts: exponential with full jitter, at most ``_CAP_S`` seconds."""

    patience_s: float = 120.0
    first_s: float = 0.2
    rng: Random = field(default_factory=SystemRandom)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic

    def delay_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Return the wait after ``attempt`` failures; never shorter than the server asked for."""
        window = min(_CAP_S, self.first_s * 2 ** min(attempt - 1, 10))
        return (retry_after_s or 0.0) + self.rng.uniform(0.0, window)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is not worth retrying, with the wall time of its own attempt."""

    response: httpx.Response
    attempts: int
    wall_ms: float


HeadersOf = Callable[[int], Mapping[str, str]]


class Caller:
    """Sends requests to one base URL until they are answered for good.

    Connection errors, lost responses and ``RETRIED_STATUSES`` are tried again; ``Retry-After`` is
    honoured, in seconds or as a date.
    """

    def __init__(self, client: httpx.AsyncClient, backoff: Backoff) -> None:
        self._client = client
        self._backoff = backoff

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | HeadersOf | None = None,
        body: Mapping[str, Any] | None = None,
        also_retried: frozenset[int] = frozenset(),
    ) -> Answer:
        """Send one request.

        Parameters
        ----------
        headers : mapping or callable
            A callable gets the number of answered attempts so far, so that an idempotency key can
            stay the same over *lost* answers and change after *given* ones.

        Raises
        ------
        GaveUpError
            If the patience runs out, or the server asks to wait longer than that.
        """
        backoff = self._backoff
        started = backoff.monotonic()
        attempts = answered = failures = 0
        while True:
            attempts += 1
            sent = backoff.monotonic()
            retry_after = None
            shown = headers(answered) if callable(headers) else headers
            try:
                response = await self._client.request(method, url, json=body, headers=shown)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                wall_ms = (backoff.monotonic() - sent) * 1000
                status = response.status_code
                failures += status == 500
                if status not in RETRIED_STATUSES | also_retried or failures >= _MOST_500:
                    return Answer(response, attempts, wall_ms)
                # In flight (409): the answer is still to come, so the key must stay; not for ever.
                answered += status not in also_retried or attempts % 10 == 0
                retry_after = retry_after_s(response.headers, utc_now())
                trouble = problem(response)
            delay = backoff.delay_s(attempts, retry_after)
            if backoff.monotonic() - started + delay > backoff.patience_s:
                raise GaveUpError(f"{method} {url}: {trouble}; gave up after {attempts} attempts")
            await backoff.sleep(delay)


def retry_after_s(headers: httpx.Headers, now: datetime) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, or None if it is absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError):
        return None


def problem(response: httpx.Response) -> str:
    """Return one line on what a response complains about, in problem or OpenAI shape."""
    try:
        body = response.json()
    except ValueError:
        body = None
    said: object = None
    if isinstance(body, dict):
        error = body.get("error")
        said = error.get("message") if isinstance(error, dict) else None
        said = said or body.get("detail") or body.get("title")
    text = str(said or response.text[:200]).strip()
    return f"{response.status_code} {text}".strip()
