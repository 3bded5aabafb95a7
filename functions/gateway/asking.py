"""From a request of OpenAI's API to what the router and the provider need. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from functions.gateway.steering import Hints, without_hints
from functions.gateway.targets import Target
from shared.decisions.context import modalities_of, text_of, tokens_of_parts
from shared.decisions.tokens import estimate_tokens
from shared.routing.types import Context, ModelCard

EMBEDDINGS = "embeddings"
"""The modality of models that turn text into vectors, and of requests for them."""

# A provider counts an image or a recording by its size, which a URL does not tell: what one is
# taken to be at most is so many times what it is taken to be.
_MOST_PER_ESTIMATED_PART = 5
_FORMS = ("tools", "functions", "response_format")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``payload`` is what the provider is sent, but for the model's name."""

    model: str
    payload: dict[str, Any]
    context: Context
    policy: str | None
    session: str | None
    kept_text: Mapping[str, Any]
    """What is stored of it where text is stored."""
    timeout_s: float | None
    most_tokens_in: int
    """No provider counts more in the prompt, as a token is at least a byte (parts: see above)."""
    answers: int = 1
    writes: bool = True
    """Whether it is answered in tokens: embeddings are not."""

    def most_tokens_out(self, card: ModelCard) -> int:
        """Return the most tokens that all answers of this model together can have."""
        if not self.writes:
            return 0
        limit = self.context.max_tokens_out or card.max_tokens_out or card.context_tokens
        return self.answers * limit

    def is_streamed(self) -> bool:
        """Return whether the answer is wanted as it is generated."""
        return bool(self.payload.get("stream"))

    def wants_usage(self) -> bool:
        """Return whether the caller of a stream asked for its usage."""
        options = self.payload.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


def chat_ask(body: Mapping[str, Any], target: Target, hints: Hints, size_bytes: int) -> Ask:
    """Return what a chat completion asks for; ``body`` as it was sent, ``size_bytes`` long."""
    messages = body["messages"]
    text = text_of(messages)
    # Definitions of tools and of the answer's form are read by the model like the prompt.
    forms = " ".join(json.dumps(body[name]) for name in _FORMS if body.get(name))
    part_tokens = tokens_of_parts(messages)
    modalities = modalities_of(messages)
    said = body.get("modalities")
    if isinstance(said, list) and "audio" in said:
        modalities |= {"audio"}
    most_tokens_in = size_bytes
    if part_tokens:
        spoken = len(text.encode()) + len(forms) + 64 * len(messages)
        most_tokens_in = spoken + _MOST_PER_ESTIMATED_PART * part_tokens
    return Ask(
        model=body["model"],
        payload=_payload(body),
        context=_context(
            hints, target, text,
            tokens_in=estimate_tokens(text + forms) + part_tokens,
            max_tokens_out=body.get("max_completion_tokens") or body.get("max_tokens"),
            modalities=modalities,
        ),
        policy=target.policy,
        session=hints.session,
        kept_text={"messages": messages},
        timeout_s=hints.timeout_s,
        most_tokens_in=most_tokens_in,
        answers=body.get("n") or 1,
    )  # fmt: skip


def embeddings_ask(body: Mapping[str, Any], model: str, hints: Hints, size_bytes: int) -> Ask:
    """Return what a request for embeddings asks for, of exactly this model."""
    given = body["input"]
    items = given if isinstance(given, list) else [given]
    text = "\n\n".join(item for item in items if isinstance(item, str))
    # Clients may send tokens instead of text: one list of them, or a list of lists.
    counted = sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in items)
    return Ask(
        model=body["model"],
        payload=_payload(body),
        context=_context(
            hints, Target(level="L1", model=model), text,
            tokens_in=counted or estimate_tokens(text),
            max_tokens_out=None,
            modalities=frozenset({EMBEDDINGS}),
        ),
        policy=None,
        session=None,
        kept_text={"input": given},
        timeout_s=hints.timeout_s,
        most_tokens_in=size_bytes,
        writes=False,
    )  # fmt: skip


def _context(
    hints: Hints, target: Target, text: str, *, tokens_in: int, max_tokens_out: int | None,
    modalities: frozenset[str],
) -> Context:  # fmt: skip
    limits = hints.constraints
    if target.model is not None:
        named = frozenset({target.model})
        allowed = named if limits.models_allowed is None else named & limits.models_allowed
        limits = replace(limits, models_allowed=allowed)
    return Context(
        text=text,
        tokens_in=tokens_in,
        max_tokens_out=max_tokens_out,
        task_type=hints.task,
        level=target.level or hints.level,
        priority=hints.priority,
        modalities=modalities,
        constraints=limits,
    )


def _payload(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the provider is sent: the caller's request without what is ours."""
    payload = dict(body)
    metadata = payload.get("metadata")
    if metadata:
        payload["metadata"] = without_hints(metadata)
        if not payload["metadata"]:
            del payload["metadata"]
    return payload
