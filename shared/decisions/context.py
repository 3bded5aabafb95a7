"""From what callers send to what the router reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from shared.config import Settings
from shared.db.engine import single_statement
from shared.decisions.recorder import find_previous_model, keyed_hash
from shared.kit.clock import utc_now
from shared.routing.types import Context

# OpenAI's content parts by the modality that they need of a model.
_MODALITY_OF_PART = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
}
_TOKENS_PER_PART = 800


def text_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return every message's text, joined by blank lines."""
    return "\n\n".join(text for message in messages for text in _texts(message.get("content")))


def modalities_of(messages: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return what a model must understand to read ``messages``; text always."""
    found = {
        modality
        for message in messages
        for part in _parts(message.get("content"))
        if (modality := _modality(part)) is not None
    }
    return frozenset({"text", *found})


def tokens_of_parts(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return a rough allowance for parts that are not text."""
    return _TOKENS_PER_PART * sum(
        _modality(part) is not None
        for message in messages
        for part in _parts(message.get("content"))
    )


def with_affinity(
    engine: sa.Engine, settings: Settings, context: Context, session_id: str | None
) -> tuple[Context, str | None]:
    """Return the context with the session's previous model, and the session's stored hash."""
    if session_id is None:
        return context, None
    session = keyed_hash(settings, "session", session_id)
    with single_statement(engine) as connection:
        previous = find_previous_model(connection, session, utc_now())
    return replace(context, previous_model=previous), session


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in _parts(content) if isinstance(part.get("text"), str)]


def _modality(part: Mapping[str, Any]) -> str | None:
    kind = part.get("type")
    return _MODALITY_OF_PART.get(kind) if isinstance(kind, str) else None


def _parts(content: object) -> list[Mapping[str, Any]]:
    return (
        [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    )
