"""A whole chat completion, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from shared.providers.exchange import Answered, count
from shared.providers.failures import UpstreamCallError


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed completion. ``latency_ms`` is what counts for this model (see the registry).

    ``filtered``: a choice ended with ``content_filter``; the body says it as the provider did.
    """

    body: dict[str, Any]
    status: int
    latency_ms: float
    measured_ms: float
    tokens_in: int
    tokens_out: int
    usage_source: Literal["provider", "missing"]
    filtered: bool = False


def read_answer(answered: Answered) -> Answer:
    """Return the completion that a document holds; nonsense usage counts as missing.

    Raises
    ------
    UpstreamCallError
        ``malformed`` without choices that each hold a message.
    """
    body = answered.document
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not all(map(_is_choice, choices)):
        raise UpstreamCallError(
            "malformed",
            f"answered {answered.status} with no choices",
            status=answered.status,
            latency_ms=answered.measured_ms,
        )
    usage = body.get("usage")
    tokens_out = count(usage, "completion_tokens")
    tokens_in = count(usage, "prompt_tokens") if tokens_out is not None else None
    return Answer(
        body=body,
        status=answered.status,
        latency_ms=answered.latency_ms,
        measured_ms=answered.measured_ms,
        tokens_in=tokens_in or 0,
        tokens_out=tokens_out or 0,
        usage_source="missing" if tokens_out is None else "provider",
        filtered=any(choice.get("finish_reason") == "content_filter" for choice in choices),
    )


def _is_choice(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)
