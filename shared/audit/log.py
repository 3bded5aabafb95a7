"""Appending to the audit log, in the transaction of the change that it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.audit.chain import GENESIS, canonical, hash_of
from shared.db.tables import audit_head, audit_log
from shared.kit.ids import KEY, USER

_KINDS = {USER: "user", KEY: "api_key", "anonymous": "anonymous"}
# Nobody may write these into a log that is never deleted. A mistake of ours, so it fails loudly.
_FORBIDDEN = frozenset(
    {
        "access_token", "password", "password_hash", "previous_secret_hash", "refresh_token",
        "secret", "secret_hash", "token", "token_hash",
    }
)  # fmt: skip


class HasIdentity(Protocol):
    """An actor: ``shared.web.callers.Caller`` or ``Actor``."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, ``usr_...``, ``key_...`` or one of ours, and in which request."""

    id: str
    name: str
    request_id: str | None = None


# The deployment itself: seeding, benchmarks.
SYSTEM = Actor("system", "system")


def record(
    connection: sa.Connection,
    actor: HasIdentity,
    action: str,
    resource: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> int:
    """Append an entry and return its number; the entries are numbered without gaps from 1.

    The head row stays locked until the transaction ends, which makes the chain serial: call this
    last, after every other lock is held.

    Raises
    ------
    ValueError
        If a member is named like a secret, or is nothing that JSON can say.
    """
    for members in (before, after):
        if members is not None and not _FORBIDDEN.isdisjoint(members):
            raise ValueError(f"secrets never go into the audit log: {action}")
    seq, prev_hash, at = connection.execute(
        insert(audit_head)
        .values(seq=1, hash=GENESIS)
        .on_conflict_do_update(index_elements=["only"], set_={"seq": audit_head.c.seq + 1})
        # Read under the lock, so that times have the order of the numbers.
        .returning(audit_head.c.seq, audit_head.c.hash, sa.func.clock_timestamp())
    ).one()
    entry: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "actor_id": actor.id,
        "actor_kind": _KINDS.get(actor.id.partition("_")[0], "system"),
        "actor_name": _storable(actor.name),
        "action": action,
        "resource": _storable(resource),
        "before": None if before is None else canonical(before),
        "after": None if after is None else canonical(after),
        "request_id": None if request_id is None else _storable(request_id),
        "prev_hash": prev_hash,
    }
    entry["hash"] = hash_of(entry)
    appended = sa.insert(audit_log).values(entry).cte("appended")
    connection.execute(sa.update(audit_head).values(hash=entry["hash"]).add_cte(appended))
    return int(seq)


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and UTF-8 no lone surrogate."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
