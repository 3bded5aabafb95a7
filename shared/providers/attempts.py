"""Try models in order until one serves: retries, backoff and fallback within one deadline."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from shared.kit.waiting import pause
from shared.providers.breaker import Breakers, Permit
from shared.providers.classify import is_out_of_quota
from shared.providers.deadline import Deadline
from shared.providers.failures import RETRYABLE, UpstreamCallError
from shared.providers.stream import ChatStream
from shared.providers.upstream import Upstream

# Less than this is no time for any model to answer in.
LEAST_TIME_S = 0.5
_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 2.0
# What another model could serve meanwhile is not waited for longer than this.
_SHORT_WAIT_S = 2.0
# Above the round trip that stood between the provider's answer and our breaker's clock.
_MARGIN_S = 0.05
_TRIES = 2
_RNG = random.Random()  # noqa: S311 - jitter


class Served(Protocol):
    """What every result of a call tells."""

    @property
    def status(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def measured_ms(self) -> float: ...
    @property
    def usage_source(self) -> str: ...
    @property
    def filtered(self) -> bool: ...


Result = TypeVar("Result", bound=Served)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Result]):
    """What the first model that served returned. ``story``: every attempt, the last one included:
    ``{"model", "error_class", "status", "latency_ms", "measured_ms", "usage", "try", "breaker"}``.

    An answer that the provider's filter ended has the error class ``content-filter`` in its story
    and is delivered as the provider said it.
    """

    upstream: Upstream
    result: Result
    story: list[dict[str, Any]]


class AllAttemptsFailedError(Exception):
    """No model served. ``failures`` in order, at least one; the last one ended it."""

    def __init__(self, failures: list[UpstreamCallError], story: list[dict[str, Any]]) -> None:
        super().__init__(failures[-1].detail)
        self.failures = failures
        self.story = story


@dataclass(slots=True)
class _Attempts(Generic[Result]):
    """One request's way through the models."""

    call: Callable[[Upstream, Deadline], Result]
    deadline: Deadline
    breakers: Breakers
    rng: random.Random
    sleep: Callable[[float], None]
    failures: list[UpstreamCallError] = field(default_factory=list)
    story: list[dict[str, Any]] = field(default_factory=list)

    def on(self, upstream: Upstream, *, is_last: bool) -> Result | None:
        """Return the model's result, or None after its failure."""
        for number in range(1, _TRIES + 1):
            permit = self.breakers.admit(upstream.id)
            if permit is None:
                self._refuse(upstream, number)
                return None
            try:
                result = self._try(upstream, permit, number)
            except UpstreamCallError as error:
                wait_s = self._wait_before_retry(error, permit, number, is_last=is_last)
                if wait_s is None:
                    return None
                self.sleep(wait_s)
            else:
                return result
        return None

    def _try(self, upstream: Upstream, permit: Permit, number: int) -> Result:
        try:
            result = self.call(upstream, self.deadline)
        except UpstreamCallError as error:
            self.breakers.failed(permit, error)
            self._tell(upstream, error, number, "probe" if permit.probe else "closed")
            raise
        except BaseException:
            self.breakers.released(permit)
            raise
        if isinstance(result, ChatStream) and not permit.probe:
            # An opened stream has not served yet: whether failures are forgotten is for its end.
            result.on_finish(lambda: self.breakers.succeeded(permit))
        else:
            self.breakers.succeeded(permit)
        self.story.append(
            {
                "model": upstream.id,
                "error_class": "content-filter" if result.filtered else None,
                "status": result.status,
                "latency_ms": round(result.latency_ms, 3),
                "measured_ms": round(result.measured_ms, 3),
                "usage": result.usage_source,
                "try": number,
                "breaker": "probe" if permit.probe else "closed",
            }
        )
        return result

    def _refuse(self, upstream: Upstream, number: int) -> None:
        wait_s = self.breakers.open_for_s(upstream.id)
        error = UpstreamCallError("breaker-open", "is left alone for now", retry_after_s=wait_s)
        self._tell(upstream, error, number, "open")

    def _tell(self, upstream: Upstream, error: UpstreamCallError, number: int, state: str) -> None:
        self.failures.append(error)
        self.story.append(
            {
                "model": upstream.id,
                "error_class": error.error_class,
                "status": error.status,
                "latency_ms": round(error.latency_ms, 3),
                "measured_ms": round(error.latency_ms, 3),
                "usage": None,
                "try": number,
                "breaker": state,
            }
        )

    def _wait_before_retry(
        self, error: UpstreamCallError, permit: Permit, number: int, *, is_last: bool
    ) -> float | None:
        """Return how long to wait before the same model is tried again; None for the next one."""
        if number == _TRIES or permit.probe or not _may_retry(error):
            return None
        wait_s = self.rng.uniform(0, min(_BACKOFF_S * 2**number, _LONGEST_BACKOFF_S))
        if error.retry_after_s is not None:
            wait_s = error.retry_after_s + _MARGIN_S + wait_s / 10
        longest_s = self.deadline.remaining_s() - LEAST_TIME_S
        if not is_last:
            longest_s = min(longest_s, _SHORT_WAIT_S)
        return wait_s if wait_s <= longest_s else None


def _may_retry(error: UpstreamCallError) -> bool:
    """Whether the same model may do better: after a busy or restarting server, or a connection
    that was refused or went stale. Not after a wait that was in vain: another model gets the time.
    """
    if error.error_class not in RETRYABLE or error.should_retry is False:
        return False
    if error.error_class == "rate-limited":
        return error.retry_after_s is not None and not is_out_of_quota(error.body)
    if error.error_class == "upstream-5xx":
        # A redirect would be the same again.
        return error.status is None or error.status >= 400
    return error.error_class == "connect" or (error.error_class == "cut" and error.unanswered)


def call_with_fallback(
    upstreams: Sequence[Upstream],
    call: Callable[[Upstream, Deadline], Result],
    deadline: Deadline,
    breakers: Breakers,
    *,
    rng: random.Random | None = None,
    sleep: Callable[[float], None] = pause,
) -> Delivery[Result]:
    """Return the first success of ``call(upstream, deadline)`` over ``upstreams`` in order.

    For chat, embeddings and opening a stream alike. One retry on the same model after a refused or
    broken connection, a 5xx, or a 429 whose Retry-After is short; then the next model. Never again
    after ``rejected`` or ``content-filter``.

    Raises
    ------
    AllAttemptsFailedError
        With the whole story.
    """
    attempts = _Attempts(call, deadline, breakers, rng or _RNG, sleep)
    for index, upstream in enumerate(upstreams):
        if attempts.failures and deadline.remaining_s() < LEAST_TIME_S:
            break
        result = attempts.on(upstream, is_last=index == len(upstreams) - 1)
        if result is not None:
            return Delivery(upstream, result, attempts.story)
        if attempts.failures[-1].error_class not in RETRYABLE:
            break
    raise AllAttemptsFailedError(attempts.failures, attempts.story)
