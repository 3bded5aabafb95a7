"""Reading the audit log, and proving that it is whole.

``verify_chain`` finds every altered, deleted, inserted or reordered entry and a cut tail. What it
cannot see alone: somebody who may disable the trigger and rewrites every entry from a place on and
the head row with it. Against that, keep ``head_seq`` and ``head_hash`` of an earlier verification
elsewhere and hand them in as the anchor: a rewritten or cut history cannot hold it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.audit.chain import GENESIS, hash_of
from shared.db.rows import AnyRow
from shared.db.tables import audit_head, audit_log

# Entries held in memory at a time.
_PAGE = 200


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to list; None does not narrow. An action that ends in a dot is a prefix."""

    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry's number and hash as somebody noted them before."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """``entries`` is how many fit from the first on; ``anchor_found`` is None without an anchor."""

    entries: int
    head_seq: int
    head_hash: bytes
    first_broken_seq: int | None = None
    reason: str | None = None
    anchor_found: bool | None = None


def list_entries(
    connection: sa.Connection, wanted: AuditFilter, before: int | None, limit: int
) -> list[AnyRow]:
    """Return entries, newest first, numbered below ``before``."""
    c = audit_log.c
    query = sa.select(audit_log).order_by(c.seq.desc()).limit(limit)
    if wanted.action is not None:
        is_prefix = wanted.action.endswith(".")
        query = query.where(
            c.action.startswith(wanted.action, autoescape=True)
            if is_prefix
            else c.action == wanted.action
        )
    for condition, value in (
        (c.actor_id.__eq__, wanted.actor),
        (c.resource.__eq__, wanted.resource),
        (c.at.__ge__, wanted.since),
        (c.at.__lt__, wanted.until),
        (c.seq.__lt__, before),
    ):
        if value is not None:
            query = query.where(condition(value))
    return list(connection.execute(query))


def verify_chain(connection: sa.Connection, anchor: Anchor | None = None) -> Verification:
    """Recompute the whole chain as it was when the call began, in bounded memory."""
    head_seq, head_hash, last_seq = _ends(connection)
    broken, last_hash, entries = _first_break(connection, head_seq)
    anchor_found = None if anchor is None else _holds(connection, anchor)
    if broken is None and last_seq > head_seq:
        broken = head_seq + 1, "an entry was added past the head"
    if broken is None and not hmac.compare_digest(last_hash, head_hash):
        broken = head_seq, "the head does not fit the last entry"
    if broken is None and anchor is not None and not anchor_found:
        broken = anchor.seq, "the anchor is not in the chain: history was rewritten or cut"
    seq, reason = broken or (None, None)
    return Verification(entries, head_seq, head_hash, seq, reason, anchor_found)


def _ends(connection: sa.Connection) -> tuple[int, bytes, int]:
    """Return the head's number and hash, and the last entry's number, of one instant."""
    row = connection.execute(
        sa.select(
            sa.select(audit_head.c.seq).scalar_subquery().label("seq"),
            sa.select(audit_head.c.hash).scalar_subquery().label("hash"),
            sa.select(sa.func.max(audit_log.c.seq)).scalar_subquery().label("last"),
        )
    ).one()
    return row.seq or 0, row.hash or GENESIS, row.last or 0


def _first_break(
    connection: sa.Connection, head_seq: int
) -> tuple[tuple[int, str] | None, bytes, int]:
    """Return the first fault up to the head, the last good hash, and how many entries fit."""
    expected, prev_hash = 1, GENESIS
    for entry in _entries(connection, head_seq):
        fault = _fault(entry, expected, prev_hash)
        if fault is not None:
            return (min(expected, entry["seq"]), fault), prev_hash, expected - 1
        expected, prev_hash = expected + 1, entry["hash"]
    if expected <= head_seq:
        return (expected, "the entries end before the head"), prev_hash, expected - 1
    return None, prev_hash, expected - 1


def _fault(entry: dict[str, Any], expected: int, prev_hash: bytes) -> str | None:
    if entry["seq"] < expected:
        return "an entry has a number that none can have"
    if entry["seq"] > expected:
        return "an entry is missing"
    if not hmac.compare_digest(entry["prev_hash"], prev_hash):
        return "the entry does not follow the one before"
    if not hmac.compare_digest(entry["hash"], hash_of(entry)):
        return "the entry was altered"
    return None


def _entries(connection: sa.Connection, head_seq: int) -> Iterator[dict[str, Any]]:
    after: int | None = None
    while True:
        query = sa.select(audit_log).where(audit_log.c.seq <= head_seq).order_by(audit_log.c.seq)
        if after is not None:
            query = query.where(audit_log.c.seq > after)
        page = [dict(row) for row in connection.execute(query.limit(_PAGE)).mappings()]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]


def _holds(connection: sa.Connection, anchor: Anchor) -> bool:
    if anchor.seq == 0:
        return hmac.compare_digest(anchor.hash, GENESIS)
    found = connection.scalar(sa.select(audit_log.c.hash).where(audit_log.c.seq == anchor.seq))
    return found is not None and hmac.compare_digest(found, anchor.hash)
