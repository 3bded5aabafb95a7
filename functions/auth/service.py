"""Coming in: logins, sessions (refresh token families), and the users that a deployment begins
with.

A refresh token is worth one refresh. Its successor is an HMAC, keyed by the spent token, of a
random salt that lies in the database: so a token that is used again within the grace (two tabs, a
lost answer) gives the *same* successor, which nobody can compute from the database alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from functions.auth import repository, throttle
from functions.auth.errors import BadCredentialsError
from shared.audit import SYSTEM, Actor, record
from shared.auth.passwords import hash_password, needs_rehash, verify_password
from shared.auth.tokens import issue_access_token
from shared.config import Settings
from shared.db.engine import transaction
from shared.db.rows import AnyRow
from shared.kit.ids import USER, to_text, uuid7

_REFRESH_BYTES = 32
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A pair of tokens; the refresh token is worth one refresh."""

    access_token: str
    refresh_token: str
    refresh_expires_at: datetime
    device_cookie: str | None = None


def log_in(
    engine: sa.Engine, settings: Settings, email: str, password: str, device: str | None,
    actor: Actor, now: datetime,
) -> Session:  # fmt: skip
    """Open a session.

    The attempt is counted in a transaction of its own, before the password is looked at; no
    connection is held while it is hashed.

    Raises
    ------
    BadCredentialsError
        For an unknown user as for a wrong password, in the same time.
    TooManyAttemptsError
        After too many of them, for an unknown user as well.
    """
    address = email.strip().lower()
    subject = throttle.login_subject(settings, address, device, now)
    with transaction(engine) as connection:
        user = repository.find_user_by_email(connection, address)
        who = to_text(USER, user.id) if user is not None else f"login:{subject.hex()[:16]}"
        throttle.admit(connection, subject, who, actor)
    known_hash = user.password_hash if user is not None and user.is_active else None
    fits = verify_password(known_hash, password)
    if user is None or not fits:
        raise _refused()
    renewed = hash_password(password) if needs_rehash(user.password_hash) else None
    with transaction(engine) as connection:
        user = repository.note_login(connection, user.id, user.password_changed_at, renewed)
        if user is None:
            raise _refused()
        return _begin(connection, settings, user, subject, actor, now)


def refresh(
    connection: sa.Connection, settings: Settings, refresh_token: str, actor: Actor, now: datetime
) -> Session | None:
    """Spend the refresh token for a new session of the same family; None if it is refused.

    A token that was spent longer ago than the grace has leaked: its family ends. That must be
    committed, so refusal is a value here and an error only in the route. The family's expiry is
    never extended.
    """
    token_hash = _hash(refresh_token)
    user = repository.lock_user_of_token(connection, token_hash)
    if user is None or not user.is_active:
        return None
    salt = secrets.token_bytes(_SALT_BYTES)
    spent = repository.spend_refresh_token(connection, token_hash, salt)
    if spent is None:
        return _use_again(connection, settings, refresh_token, user, actor, now)
    repository.forget_successors(connection, spent.family_id, settings.refresh_grace_s)
    successor = _successor(refresh_token, salt)
    repository.add_refresh_token(
        connection, _hash(successor), spent.family_id, user.id, spent.expires_at
    )
    return _session(settings, user, spent.family_id, successor, spent.expires_at, now)


def log_out(connection: sa.Connection, family_id: UUID, actor: Actor) -> None:
    """End the session's family: refresh at once, access within the revocation list's TTL."""
    if repository.revoke_family(connection, family_id):
        record(
            connection, actor, "session.ended", actor.id, {"session": family_id.hex}, None,
            actor.request_id,
        )  # fmt: skip


def ensure_user(connection: sa.Connection, email: str, password: str, role: str) -> bool:
    """Create a user unless the e-mail is taken; return whether it was created."""
    address = email.strip().lower()
    user = repository.add_user(connection, uuid7(), address, hash_password(password), role)
    if user is not None:
        said = {"email": address, "role": role}
        record(connection, SYSTEM, "user.created", to_text(USER, user.id), None, said)
    return user is not None


def _begin(
    connection: sa.Connection, settings: Settings, user: AnyRow, subject: bytes, actor: Actor,
    now: datetime,
) -> Session:  # fmt: skip
    repository.delete_expired_refresh_tokens(connection, user.id)
    throttle.succeed(connection, subject)
    family_id, token = uuid7(), secrets.token_urlsafe(_REFRESH_BYTES)
    expires_at = now + timedelta(seconds=settings.refresh_token_ttl_s)
    repository.add_refresh_token(connection, _hash(token), family_id, user.id, expires_at)
    myself = Actor(to_text(USER, user.id), user.email, actor.request_id)
    record(
        connection, myself, "session.started", myself.id, None, {"session": family_id.hex},
        myself.request_id,
    )  # fmt: skip
    cookie = throttle.new_device_cookie(settings, user.email, now)
    return _session(settings, user, family_id, token, expires_at, now, cookie)


def _use_again(
    connection: sa.Connection, settings: Settings, refresh_token: str, user: AnyRow, actor: Actor,
    now: datetime,
) -> Session | None:  # fmt: skip
    """Answer a token that is not in force: with its successor within the grace, else end all."""
    grace_s = settings.refresh_grace_s
    known = repository.find_refresh_token(connection, _hash(refresh_token), grace_s)
    if known is None or known.spent_at is None or known.revoked_at is not None:
        return None
    if known.in_grace and known.successor_salt is not None:
        successor = _successor(refresh_token, known.successor_salt)
        return _session(settings, user, known.family_id, successor, known.expires_at, now)
    if repository.revoke_family(connection, known.family_id):
        record(
            connection, actor, "session.reuse_detected", to_text(USER, user.id),
            {"session": known.family_id.hex}, None, actor.request_id,
        )  # fmt: skip
    return None


def _session(
    settings: Settings, user: AnyRow, family_id: UUID, refresh_token: str, expires_at: datetime,
    now: datetime, device_cookie: str | None = None,
) -> Session:  # fmt: skip
    access = issue_access_token(
        settings, user_id=user.id, email=user.email, role=user.role, family_id=family_id, now=now
    )
    return Session(access, refresh_token, expires_at, device_cookie)


def _successor(spent: str, salt: bytes) -> str:
    key = b"davinci/refresh-successor" + salt
    mac = hmac.digest(spent.encode(errors="replace"), key, "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _refused() -> BadCredentialsError:
    return BadCredentialsError("The e-mail or the password is wrong.")
