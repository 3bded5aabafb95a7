"""The audit log as administrators see it."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from shared.audit.reader import Anchor, AuditFilter, list_entries, verify_chain
from shared.db.rows import AnyRow
from shared.errors import FieldError, InvalidInputError
from shared.schemas.audit import AuditActor, AuditEntry, AuditVerification


def list_page(
    connection: sa.Connection, wanted: AuditFilter, before: int | None, limit: int
) -> tuple[list[AuditEntry], int | None]:
    """Return a page of entries, newest first, and the position after it."""
    rows = list_entries(connection, wanted, before, limit + 1)
    more = rows[limit - 1].seq if len(rows) > limit else None
    return [_entry(row) for row in rows[:limit]], more


def verify(
    connection: sa.Connection, anchor_seq: int | None, anchor_hash: str | None
) -> AuditVerification:
    """Verify the chain, and that it holds the anchor, if one is given.

    Raises
    ------
    InvalidInputError
        If only half an anchor is given.
    """
    anchor = None
    if anchor_seq is not None and anchor_hash is not None:
        anchor = Anchor(anchor_seq, bytes.fromhex(anchor_hash))
    elif anchor_seq is not None or anchor_hash is not None:
        missing = "?anchor_hash" if anchor_hash is None else "?anchor_seq"
        raise InvalidInputError(
            "An anchor is a number and a hash.", errors=[FieldError(missing, "Field required")]
        )
    found = verify_chain(connection, anchor)
    return AuditVerification(
        ok=found.first_broken_seq is None,
        entries=found.entries,
        head_seq=found.head_seq,
        head_hash=found.head_hash.hex(),
        first_broken_seq=found.first_broken_seq,
        reason=found.reason,
        anchor_found=found.anchor_found,
    )


def _entry(row: AnyRow) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        actor=AuditActor(id=row.actor_id, kind=row.actor_kind, name=row.actor_name),
        action=row.action,
        resource=row.resource,
        before=_members(row.before),
        after=_members(row.after),
        request_id=row.request_id,
        prev_hash=row.prev_hash.hex(),
        hash=row.hash.hex(),
    )


def _members(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
