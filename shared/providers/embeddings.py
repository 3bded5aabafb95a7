"""Embeddings by any provider: the same call, checks and failures as a chat completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from shared.observability.tracing import start_call
from shared.providers.client import UpstreamClient
from shared.providers.deadline import Deadline
from shared.providers.exchange import Answered, ask, count
from shared.providers.failures import UpstreamCallError
from shared.providers.presets import preset_of
from shared.providers.upstream import Upstream


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """Well-formed embeddings, as the provider sent them."""

    body: dict[str, Any]
    status: int
    latency_ms: float
    measured_ms: float
    tokens_in: int
    usage_source: Literal["provider", "missing"]
    filtered: bool = False


def create_embeddings(
    client: UpstreamClient, upstream: Upstream, payload: dict[str, Any], deadline: Deadline
) -> EmbeddingsAnswer:
    """Send an embeddings request to ``upstream``; only the model's name is replaced.

    Raises
    ------
    UpstreamCallError
        Classified; ``rejected`` for a provider that has no embeddings.
    """
    preset = preset_of(upstream.provider)
    if preset.embeddings_path is None:
        raise UpstreamCallError("rejected", f"{upstream.provider} has no embeddings")
    call = start_call(
        "embeddings", preset.otel_name, upstream.upstream_name, upstream.base_url, payload
    )
    with call:
        answer = _read(ask(client, upstream, preset.embeddings_path, payload, deadline))
        call.answered(
            response_id=None,
            model=answer.body.get("model"),
            finish_reasons=(),
            tokens_in=answer.tokens_in if answer.usage_source == "provider" else None,
            tokens_out=None,
        )
    return answer


def _read(answered: Answered) -> EmbeddingsAnswer:
    data = answered.document.get("data")
    if not isinstance(data, list) or not data or not all(map(_is_embedding, data)):
        raise UpstreamCallError(
            "malformed",
            f"answered {answered.status} with no embeddings",
            status=answered.status,
            latency_ms=answered.measured_ms,
        )
    tokens_in = count(answered.document.get("usage"), "prompt_tokens")
    return EmbeddingsAnswer(
        body=answered.document,
        status=answered.status,
        latency_ms=answered.latency_ms,
        measured_ms=answered.measured_ms,
        tokens_in=tokens_in or 0,
        usage_source="missing" if tokens_in is None else "provider",
    )


def _is_embedding(item: object) -> bool:
    # A list of numbers, or base64 where the caller asked for it.
    return isinstance(item, dict) and isinstance(item.get("embedding"), (list, str))
