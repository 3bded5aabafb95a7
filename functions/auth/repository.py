"""Every SQL statement of the auth domain, but for keys' (``key_repository``).

Locks are taken in one order everywhere: users by id, then refresh tokens, then the audit head.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import login_throttle, refresh_tokens, users

# The database's clock decides what is in force: functions' clocks may differ.
_NOW = sa.func.clock_timestamp()
_DAY = timedelta(days=1)


def find_user_by_email(connection: sa.Connection, email: str) -> AnyRow | None:
    return connection.execute(sa.select(users).where(users.c.email == email)).one_or_none()


def find_user(connection: sa.Connection, user_id: UUID) -> AnyRow | None:
    return connection.execute(sa.select(users).where(users.c.id == user_id)).one_or_none()


def list_users(connection: sa.Connection, before: UUID | None, limit: int) -> list[AnyRow]:
    """Return users, newest first, older than ``before``."""
    query = sa.select(users).order_by(users.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(users.c.id < before)
    return list(connection.execute(query))


def add_user(
    connection: sa.Connection, user_id: UUID, email: str, password_hash: str, role: str
) -> AnyRow | None:
    """Add a user and return it; None if the e-mail is taken."""
    statement = insert(users).values(
        id=user_id, email=email, password_hash=password_hash, role=role
    )
    return connection.execute(
        statement.on_conflict_do_nothing(index_elements=["email"]).returning(users)
    ).one_or_none()


def lock_user_and_admins(connection: sa.Connection, user_id: UUID) -> dict[UUID, AnyRow]:
    """Lock the user and every active admin, always in the same order, and return them by id.

    Whoever takes an admin away holds all of these locks, so of several at once each sees what the
    one before has left.
    """
    is_admin = (users.c.role == "admin") & users.c.is_active
    query = (
        sa.select(users)
        .where(is_admin | (users.c.id == user_id))
        .order_by(users.c.id)
        .with_for_update()
    )
    return {row.id: row for row in connection.execute(query)}


def update_user(connection: sa.Connection, user_id: UUID, values: dict[str, Any]) -> AnyRow:
    """Change a locked user and return it; a password's change is noted with its instant."""
    if "password_hash" in values:
        values = {**values, "password_changed_at": _NOW}
    return connection.execute(
        sa.update(users)
        .where(users.c.id == user_id)
        .values(**values, revision=users.c.revision + 1, updated_at=_NOW)
        .returning(users)
    ).one()


def change_password(
    connection: sa.Connection, user_id: UUID, seen: datetime, password_hash: str
) -> bool:
    """Set the password unless it was changed since ``seen``; return whether it was set."""
    done = connection.execute(
        sa.update(users)
        .where(users.c.id == user_id, users.c.is_active, users.c.password_changed_at == seen)
        .values(
            password_hash=password_hash,
            password_changed_at=_NOW,
            updated_at=_NOW,
            revision=users.c.revision + 1,
        )
    )
    return done.rowcount == 1


def delete_user(connection: sa.Connection, user_id: UUID) -> None:
    connection.execute(sa.delete(users).where(users.c.id == user_id))


def note_login(
    connection: sa.Connection, user_id: UUID, seen: datetime, password_hash: str | None
) -> AnyRow | None:
    """Note a login and renew the hash, if one is given; None if the user must not come in.

    Between the check of the password and this nobody may have changed it or locked the user out.
    """
    renewed = {} if password_hash is None else {"password_hash": password_hash}
    return connection.execute(
        sa.update(users)
        .where(users.c.id == user_id, users.c.is_active, users.c.password_changed_at == seen)
        .values(last_login_at=_NOW, **renewed)
        .returning(users)
    ).one_or_none()


def add_refresh_token(
    connection: sa.Connection, token_hash: bytes, family_id: UUID, user_id: UUID,
    expires_at: datetime,
) -> None:  # fmt: skip
    connection.execute(
        sa.insert(refresh_tokens).values(
            token_hash=token_hash, family_id=family_id, user_id=user_id, expires_at=expires_at
        )
    )


def lock_user_of_token(connection: sa.Connection, token_hash: bytes) -> AnyRow | None:
    """Return the token's user, who cannot be changed or deleted until the transaction ends."""
    return connection.execute(
        sa.select(users)
        .join(refresh_tokens, refresh_tokens.c.user_id == users.c.id)
        .where(refresh_tokens.c.token_hash == token_hash)
        .with_for_update(read=True, of=users)
    ).one_or_none()


def spend_refresh_token(
    connection: sa.Connection, token_hash: bytes, successor_salt: bytes
) -> AnyRow | None:
    """Mark the token spent and return it; None if it was not in force. One statement, so of many
    at a time exactly one succeeds.
    """
    return connection.execute(
        sa.update(refresh_tokens)
        .where(
            refresh_tokens.c.token_hash == token_hash,
            refresh_tokens.c.spent_at.is_(None),
            refresh_tokens.c.revoked_at.is_(None),
            refresh_tokens.c.expires_at > _NOW,
        )
        .values(spent_at=_NOW, successor_salt=successor_salt)
        .returning(
            refresh_tokens.c.family_id, refresh_tokens.c.user_id, refresh_tokens.c.expires_at
        )
    ).one_or_none()


def find_refresh_token(
    connection: sa.Connection, token_hash: bytes, grace_s: float
) -> AnyRow | None:
    """Return the token, and whether it was spent within ``grace_s`` and is otherwise in force."""
    c = refresh_tokens.c
    in_grace = (c.spent_at > _NOW - timedelta(seconds=grace_s)) & (c.expires_at > _NOW)
    return connection.execute(
        sa.select(refresh_tokens, sa.func.coalesce(in_grace, sa.false()).label("in_grace")).where(
            refresh_tokens.c.token_hash == token_hash
        )
    ).one_or_none()


def forget_successors(connection: sa.Connection, family_id: UUID, grace_s: float) -> None:
    """Forget what gives the successors of tokens whose grace is over."""
    connection.execute(
        sa.update(refresh_tokens)
        .where(
            refresh_tokens.c.family_id == family_id,
            refresh_tokens.c.successor_salt.is_not(None),
            refresh_tokens.c.spent_at < _NOW - timedelta(seconds=grace_s),
        )
        .values(successor_salt=None)
    )


def revoke_family(connection: sa.Connection, family_id: UUID) -> bool:
    """End the session; return whether it was not over before."""
    return _revoke(connection, refresh_tokens.c.family_id == family_id)


def revoke_sessions(connection: sa.Connection, user_id: UUID, but: UUID | None = None) -> None:
    """End the user's sessions, except the family ``but``."""
    of_user = refresh_tokens.c.user_id == user_id
    _revoke(connection, of_user if but is None else of_user & (refresh_tokens.c.family_id != but))


def _revoke(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> bool:
    done = connection.execute(
        sa.update(refresh_tokens)
        .where(condition, refresh_tokens.c.revoked_at.is_(None))
        .values(revoked_at=_NOW)
    )
    return done.rowcount > 0


def delete_expired_refresh_tokens(connection: sa.Connection, user_id: UUID) -> None:
    """Forget the tokens of the user, and of deleted ones, that have been worthless for a day."""
    connection.execute(
        sa.delete(refresh_tokens).where(
            (refresh_tokens.c.user_id == user_id) | refresh_tokens.c.user_id.is_(None),
            refresh_tokens.c.expires_at < _NOW - _DAY,
        )
    )


def claim_attempt(
    connection: sa.Connection, subject: bytes, attempt: UUID, free: int, longest_s: int
) -> AnyRow:
    """Count an attempt unless the subject must wait; return admitted, failures and wait_s.

    One statement on one row: of many attempts at once no more are admitted than one after the
    other. The first ``free`` cost no wait, the next 1 s, 2 s, 4 s ... up to ``longest_s``. A day
    without an attempt forgets them.
    """
    t = login_throttle.c
    new = insert(login_throttle).values(
        subject=subject, failures=1, blocked_until=_NOW, attempted_at=_NOW, attempt=attempt
    )
    # Of several at once, one that read the clock first may come last: it must not find itself
    # before the end of a wait of nothing.
    at = sa.func.greatest(new.excluded.attempted_at, t.attempted_at)
    is_open = t.blocked_until <= at
    failures = sa.case((t.attempted_at < at - _DAY, 1), else_=t.failures + 1)
    doubled = sa.func.power(2, sa.func.least(failures - free - 1, 30))
    wait_s = sa.case((failures <= free, 0), else_=sa.func.least(doubled, longest_s))
    until = at + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(wait_s, sa.Double))
    return connection.execute(
        new.on_conflict_do_update(
            index_elements=["subject"],
            set_={
                "failures": sa.case((is_open, failures), else_=t.failures),
                "blocked_until": sa.case((is_open, until), else_=t.blocked_until),
                "attempted_at": sa.case((is_open, at), else_=t.attempted_at),
                "attempt": sa.case((is_open, new.excluded.attempt), else_=t.attempt),
            },
        ).returning(
            (t.attempt == attempt).label("admitted"),
            t.failures,
            sa.cast(sa.extract("epoch", t.blocked_until - _NOW), sa.Double).label("wait_s"),
        )
    ).one()


def forget_attempts(connection: sa.Connection, subjects: Sequence[bytes]) -> bool:
    """Forget the subjects' attempts; return whether there were any."""
    done = connection.execute(
        sa.delete(login_throttle).where(login_throttle.c.subject.in_(subjects))
    )
    return done.rowcount > 0


def forget_old_attempts(connection: sa.Connection, most: int) -> None:
    """Delete up to ``most`` rows that are forgotten anyway; never waits."""
    old = (
        sa.select(login_throttle.c.subject)
        .where(login_throttle.c.attempted_at < _NOW - _DAY)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    connection.execute(sa.delete(login_throttle).where(login_throttle.c.subject.in_(old)))
