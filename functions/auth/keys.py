"""API keys: created with limits, used, rotated with overlap, revoked.

A key keeps its id over rotations, and with it name, limits, budget and usage; what changes is its
secret. Only hashes of secrets are stored.

A key that manages keys gets no secret that may more than itself: none with another scope, none
that lives longer, and none besides its own if it has limits, because two keys have them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from functions.auth import key_repository as repository
from functions.auth.errors import (
    KeyBeyondOwnError,
    KeyNotFoundError,
    KeyOverError,
    RotationUnfinishedError,
)
from shared.audit import Actor, record
from shared.auth import api_keys
from shared.config import Settings
from shared.db.rows import AnyRow
from shared.errors import FieldError, InvalidInputError
from shared.kit.clock import utc_now
from shared.kit.ids import KEY, MalformedIdError, floor_at, parse, to_text, uuid7
from shared.schemas.auth import Budget, Key, KeyCreate, KeyCreated, KeySpend, KeyUsage
from shared.spending.budgets import Spent, read_spend
from shared.spending.money import NUSD_PER_USD

USAGE_DAYS = 30
_UNUSED = (0, 0, 0.0)


def create(
    connection: sa.Connection, settings: Settings, wanted: KeyCreate, actor: Actor
) -> KeyCreated:
    """Create an API key; the only time that its secret is known.

    Raises
    ------
    InvalidInputError
        If it would be expired already.
    KeyBeyondOwnError
        If a key asks for more than it has itself.
    """
    if wanted.expires_at is not None and wanted.expires_at <= utc_now():
        raise InvalidInputError(
            "The key would never work.", errors=[FieldError("#/expires_at", "it is in the past")]
        )
    _refuse_beyond_own(connection, actor, wanted.scopes, wanted.expires_at)
    secret = api_keys.generate_key(settings.environment)
    budget = wanted.budget
    row = repository.add_key(
        connection,
        id=uuid7(),
        name=wanted.name,
        prefix=api_keys.visible_prefix(secret),
        secret_hash=api_keys.hash_key(secret),
        scopes=sorted(set(wanted.scopes)),
        labels=wanted.labels,
        created_by=actor.id,
        expires_at=wanted.expires_at,
        rpm=wanted.rpm,
        tpm=wanted.tpm,
        budget_usd=None if budget is None else budget.usd,
        budget_window=None if budget is None else budget.window,
    )
    (key,) = _with_use(connection, [row])
    said = key.model_dump(
        mode="json",
        include={"name", "prefix", "scopes", "labels", "expires_at", "rpm", "tpm", "budget"},
    )
    record(connection, actor, "key.created", key.id, None, said, actor.request_id)
    return KeyCreated(**key.model_dump(), secret=secret)


def list_page(
    connection: sa.Connection, before: str | None, limit: int
) -> tuple[list[Key], str | None]:
    """Return a page of keys, newest first, with their usage, and the position after it."""
    rows = repository.list_keys(connection, UUID(before) if before else None, limit + 1)
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return _with_use(connection, rows[:limit]), more


def rotate(
    connection: sa.Connection, settings: Settings, key_id: str, overlap_s: int, actor: Actor
) -> KeyCreated:
    """Give the key a new secret; the one before works for ``overlap_s`` seconds more.

    Without overlap every older secret ends at once.

    Raises
    ------
    KeyNotFoundError
        If there is no such key.
    KeyBeyondOwnError
        If a key asks for another's secret that may more than itself.
    KeyOverError
        If it is revoked or expired.
    RotationUnfinishedError
        If two secrets are in force: a third would end one that somebody may still use.
    """
    row = _locked(connection, key_id)
    if key_id != actor.id:
        _refuse_beyond_own(connection, actor, row.scopes, row.expires_at)
    if row.is_over:
        raise KeyOverError(f"{key_id} is revoked or expired. Create another key.")
    if row.is_overlapping and overlap_s:
        raise RotationUnfinishedError(
            "The secret before the last rotation is still in force. Wait until "
            "previous_valid_until, or rotate with overlap_s 0, which ends both."
        )
    secret = api_keys.generate_key(settings.environment)
    changed = repository.rotate_key(
        connection, row.id, api_keys.hash_key(secret), api_keys.visible_prefix(secret), overlap_s
    )
    record(
        connection, actor, "key.rotated", key_id, {"prefix": row.prefix},
        {"prefix": changed.prefix, "overlap_s": overlap_s}, actor.request_id,
    )  # fmt: skip
    (key,) = _with_use(connection, [changed])
    return KeyCreated(**key.model_dump(), secret=secret)


def revoke(connection: sa.Connection, key_id: str, actor: Actor) -> None:
    """Revoke a key and all its secrets for good; revoking twice is one revocation.

    Raises
    ------
    KeyNotFoundError
        If there is no such key.
    """
    row = _locked(connection, key_id)
    if row.revoked_at is not None:
        return
    repository.revoke_key(connection, row.id)
    said = {"name": row.name, "prefix": row.prefix}
    record(connection, actor, "key.revoked", key_id, said, None, actor.request_id)


def _refuse_beyond_own(
    connection: sa.Connection, actor: Actor, scopes: Sequence[str], expires_at: datetime | None
) -> None:
    """Let people give any scope: whoever may manage keys may do all that keys can."""
    try:
        own = repository.require_key(connection, parse(KEY, actor.id))
    except MalformedIdError:
        return
    if beyond := sorted(set(scopes) - set(own.scopes)):
        raise KeyBeyondOwnError(f"Your key has {own.scopes}; it cannot give {beyond}.")
    if own.expires_at is not None and (expires_at is None or expires_at > own.expires_at):
        raise KeyBeyondOwnError(f"Your key expires at {own.expires_at.isoformat()}, others before.")
    if (own.rpm, own.tpm, own.budget_usd) != (None, None, None):
        raise KeyBeyondOwnError("Your key has limits; a second secret would have them twice.")


def _locked(connection: sa.Connection, key_id: str) -> AnyRow:
    try:
        row = repository.lock_key(connection, parse(KEY, key_id))
    except MalformedIdError:
        row = None
    if row is None:
        raise KeyNotFoundError(f"There is no API key {key_id}.")
    return row


def _with_use(connection: sa.Connection, rows: list[AnyRow]) -> list[Key]:
    """Return keys with what they were used for and what their budgets have spent."""
    if not rows:
        return []
    since = floor_at(utc_now() - timedelta(days=USAGE_DAYS))
    ids = [to_text(KEY, row.id) for row in rows]
    used = repository.usage_of(connection, ids, since)
    windows = {
        id_: row.budget_window
        for id_, row in zip(ids, rows, strict=True)
        if row.budget_window is not None
    }
    spent = read_spend(connection, windows)
    return [
        _key(row, used.get(id_, _UNUSED), spent.get(id_))
        for id_, row in zip(ids, rows, strict=True)
    ]


def _key(row: AnyRow, used: tuple[int, int, float], spent: Spent | None) -> Key:
    requests, tokens, cost_usd = used
    return Key(
        id=to_text(KEY, row.id),
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        labels=row.labels,
        rpm=row.rpm,
        tpm=row.tpm,
        budget=None
        if row.budget_usd is None
        else Budget(usd=row.budget_usd, window=row.budget_window),
        spend=None
        if spent is None
        else KeySpend(
            since=spent.window_start,
            spent_usd=spent.settled_nusd / NUSD_PER_USD,
            held_usd=spent.reserved_nusd / NUSD_PER_USD,
        ),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        rotated_at=row.rotated_at,
        previous_valid_until=row.previous_valid_until,
        last_used_at=row.last_used_at,
        usage=KeyUsage(requests=requests, tokens=tokens, cost_usd=cost_usd),
    )
