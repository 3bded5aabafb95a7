"""The registry as decisions saw it: stored once per content, named by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.tables import model_snapshots
from shared.routing.types import ModelCard


def cards_id(cards: Sequence[ModelCard]) -> UUID:
    """Return the content's name: the first half of its SHA-256."""
    text = json.dumps(_encode(cards), sort_keys=True, separators=(",", ":"))
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def keep_cards(connection: sa.Connection, name: UUID, cards: Sequence[ModelCard]) -> None:
    """Store the content unless it is there."""
    statement = insert(model_snapshots).values(id=name, cards=_encode(cards))
    connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))


def find_cards(connection: sa.Connection, name: UUID) -> tuple[ModelCard, ...]:
    """Return the content with this name.

    Raises
    ------
    sqlalchemy.exc.NoResultFound
        If it was never stored.
    """
    stored = connection.execute(
        sa.select(model_snapshots.c.cards).where(model_snapshots.c.id == name)
    ).scalar_one()
    return tuple(
        ModelCard(**{**card, "modalities": frozenset(card["modalities"])}) for card in stored
    )


def _encode(cards: Sequence[ModelCard]) -> list[dict[str, Any]]:
    return [{**asdict(card), "modalities": sorted(card.modalities)} for card in cards]
