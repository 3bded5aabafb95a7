"""Serve a chat completion in one piece."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from functions.gateway.admission import Serving, decide_and_hold
from functions.gateway.asking import Ask
from functions.gateway.door import Visit
from functions.gateway.failures import failure_of
from functions.gateway.outcomes import Ending, Ledger
from shared.decisions.context import text_of
from shared.decisions.recorder import storable
from shared.decisions.snapshot import World
from shared.decisions.tokens import estimate_tokens
from shared.errors import UnavailableError
from shared.providers.attempts import AllAttemptsFailedError, Delivery, call_with_fallback
from shared.providers.attempts import Served as Answering
from shared.providers.chat import complete_chat
from shared.providers.deadline import Deadline
from shared.providers.upstream import Upstream
from shared.secrets import read_provider_secret

Result = TypeVar("Result", bound=Answering)


@dataclass(frozen=True, slots=True)
class Served:
    """A served request: the provider's answer and the headers that say who gave it."""

    body: dict[str, Any]
    headers: dict[str, str]
    until_written: Callable[[], None]
    """Waits until its outcome is written; it may not leave before."""


def serve_chat(visit: Visit, ask: Ask, world: World) -> Served:
    """Serve a chat completion by the model that the policy chooses.

    The decision is sent to the database before the first upstream call; it and its outcome are
    durable after ``until_written``.

    Raises
    ------
    DomainError
        If the request is not admitted, or no model serves it (see ``failure_of``).
    """
    door = visit.door
    serving = decide_and_hold(visit, ask, world)
    ledger = Ledger(door.engine, serving)

    def call(upstream: Upstream, deadline: Deadline) -> Any:
        return complete_chat(door.client, upstream, ask.payload, deadline)

    delivery = deliver(visit, serving, ledger, call)
    answer, model = delivery.result, delivery.upstream.id
    tokens_in, tokens_out = answer.tokens_in, answer.tokens_out
    if answer.usage_source == "missing":
        tokens_in = serving.ask.context.tokens_in
        tokens_out = estimate_tokens(_answer_text(answer.body))
    ending = Ending(
        delivery.story, model, None, answer.latency_ms, tokens_in, tokens_out,
        ledger.priced(model, tokens_in, tokens_out),
        storable({"choices": answer.body["choices"]}) if door.settings.store_text else None,
    )  # fmt: skip
    return served_with(answer.body, visit, ledger, ending)


def deliver(
    visit: Visit, serving: Serving, ledger: Ledger, call: Callable[[Upstream, Deadline], Result]
) -> Delivery[Result]:
    """Call the chosen model, then its fallbacks. However long a stream may last, waiting and trying
    again for its beginning takes no longer than a whole answer may.

    Raises
    ------
    DomainError
        If none serves; the outcome is written then.
    """
    door, by = visit.door, serving.deadline
    longest_s = min(by.remaining_s(), door.settings.upstream_total_timeout_s)
    try:
        with visit.timing.measure("upstream"):
            return call_with_fallback(
                serving.upstreams, call, Deadline.after(longest_s, by.now), door.breakers
            )
    except AllAttemptsFailedError as error:
        story, last = error.story, error.failures[-1]
        with visit.timing.measure("db"):
            ledger.write(Ending(story, error_class=last.error_class))
        headers = {**serving.headers(), "x-davinci-model": story[-1]["model"]}
        raise failure_of(error.failures, headers, _secrets_of(serving)) from error


def served_with(body: dict[str, Any], visit: Visit, ledger: Ledger, ending: Ending) -> Served:
    """Begin to write the outcome of a served request; return its answer."""
    with visit.timing.measure("db"):
        until_written = ledger.begin(ending)
    headers = {**ledger.serving.headers(), "x-davinci-model": str(ending.served_by)}
    if ending.cost_usd is not None:
        headers["x-davinci-cost-usd"] = f"{ending.cost_usd:.9f}"
    return Served(body, headers, until_written)


def _secrets_of(serving: Serving) -> list[str]:
    """Return the providers' keys that may have been sent; each was read a moment ago."""
    found = []
    for upstream in serving.upstreams:
        if upstream.secret_ref is not None:
            with suppress(UnavailableError):
                found.append(read_provider_secret(upstream.secret_ref).strip())
    return found


def _answer_text(body: dict[str, Any]) -> str:
    messages = (c.get("message") for c in body["choices"] if isinstance(c, dict))
    return text_of(m for m in messages if isinstance(m, dict))
