"""Users and roles. The last active administrator can be neither removed, disabled nor demoted.

Whoever is disabled, demoted, promoted or deleted, or gets another password, loses every session:
refreshing ends at once, access when the callers' revocation list is read again (30 s at most). API
keys belong to the organisation: those that a deleted user created keep working until revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from functions.auth import repository, throttle
from functions.auth.errors import (
    LastAdminError,
    UserExistsError,
    UserNotFoundError,
    WeakPasswordError,
    WrongPasswordError,
)
from shared.audit import Actor, record
from shared.auth.passwords import hash_password, password_fault, verify_password
from shared.auth.tokens import AccessClaims
from shared.config import Settings
from shared.db.rows import AnyRow
from shared.errors import FieldError, ForbiddenError, InvalidInputError
from shared.kit.ids import USER, MalformedIdError, parse, to_text, uuid7
from shared.schemas.auth import User, UserCreate, UserUpdate
from shared.web.etag import require_match

_AUDITED = ("role", "is_active")


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """What was found of the current password, before the new one is set."""

    user: AnyRow
    subject: bytes


def list_page(
    connection: sa.Connection, before: str | None, limit: int
) -> tuple[list[User], str | None]:
    """Return a page of users, newest first, and the position after it."""
    rows = repository.list_users(connection, UUID(before) if before else None, limit + 1)
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return [_user(row) for row in rows[:limit]], more


def create(connection: sa.Connection, wanted: UserCreate, actor: Actor) -> User:
    """Create a user.

    Raises
    ------
    UserExistsError
        If the e-mail is taken.
    WeakPasswordError
        If the password is none that we take.
    """
    address = wanted.email.strip().lower()
    _refuse_weak(wanted.password, address, "password")
    row = repository.add_user(
        connection, uuid7(), address, hash_password(wanted.password), wanted.role
    )
    if row is None:
        raise UserExistsError(f"There is a user {address!r} already.")
    user = _user(row)
    said = {"email": user.email, "role": user.role, "is_active": user.is_active}
    record(connection, actor, "user.created", user.id, None, said, actor.request_id)
    return user


def change(
    connection: sa.Connection, settings: Settings, user_id: str, wanted: UserUpdate,
    if_match: str | None, actor: Actor,
) -> User:  # fmt: skip
    """Change a user's role, lock them out or in, set a password, unlock them after wrong ones.

    Raises
    ------
    UserNotFoundError
        If there is no such user.
    PreconditionFailedError
        If somebody changed it since the caller read it.
    LastAdminError
        If it would leave no active administrator.
    """
    target_id = _parse(user_id)
    locked = repository.lock_user_and_admins(connection, target_id)
    _require_admin(actor, locked)
    target = _found(locked, target_id, user_id)
    require_match(if_match, target.revision)
    values = _values(wanted, target)
    now = {name: getattr(target, name) for name in _AUDITED} | values
    if now["role"] != "admin" or not now["is_active"]:
        _keep_an_admin(locked, target_id)
    row = repository.update_user(connection, target_id, values)
    changed = {name for name in _AUDITED if now[name] != getattr(target, name)}
    if changed or "password_hash" in values:
        repository.revoke_sessions(connection, target_id)
    if wanted.unlock:
        _unlock(connection, settings, target)
    before = {name: getattr(target, name) for name in sorted(changed)}
    after: dict[str, Any] = {name: now[name] for name in sorted(changed)}
    after |= {"unlocked": True} if wanted.unlock else {}
    after |= {"password_changed": True} if "password_hash" in values else {}
    record(connection, actor, "user.updated", user_id, before, after, actor.request_id)
    return _user(row)


def remove(connection: sa.Connection, user_id: str, actor: Actor) -> None:
    """Delete a user and end their sessions.

    Raises
    ------
    UserNotFoundError
        If there is no such user.
    LastAdminError
        If it is the last active administrator.
    """
    target_id = _parse(user_id)
    locked = repository.lock_user_and_admins(connection, target_id)
    _require_admin(actor, locked)
    target = _found(locked, target_id, user_id)
    _keep_an_admin(locked, target_id)
    repository.revoke_sessions(connection, target_id)
    repository.delete_user(connection, target_id)
    said = {"email": target.email, "role": target.role, "is_active": target.is_active}
    record(connection, actor, "user.deleted", user_id, said, None, actor.request_id)


def find_for_password(
    connection: sa.Connection, settings: Settings, claims: AccessClaims, actor: Actor
) -> PasswordCheck:
    """Count a try at the current password and return whose it is. Commit before it is checked.

    Raises
    ------
    TooManyAttemptsError
        After too many wrong ones: a stolen access token must not become a password.
    UserNotFoundError
        If the user was deleted meanwhile.
    """
    user = repository.find_user(connection, claims.user_id)
    if user is None or not user.is_active:
        raise UserNotFoundError("You are no user any more.")
    subject = throttle.password_subject(settings, actor.id)
    throttle.admit(connection, subject, actor.id, actor)
    return PasswordCheck(user, subject)


def fits(check: PasswordCheck, current: str) -> bool:
    """Return whether ``current`` is the password; takes a hash's time, needs no connection."""
    return verify_password(check.user.password_hash, current)


def change_own_password(
    connection: sa.Connection, check: PasswordCheck, claims: AccessClaims, new: str, actor: Actor,
    *, current_fits: bool,
) -> None:  # fmt: skip
    """Set one's own password and end one's other sessions.

    Raises
    ------
    WrongPasswordError
        If the current one did not fit, or was changed meanwhile.
    WeakPasswordError
        If the new one is none that we take.
    """
    if not current_fits:
        raise WrongPasswordError("The current password is wrong.")
    _refuse_weak(new, check.user.email, "new_password")
    changed = repository.change_password(
        connection, claims.user_id, check.user.password_changed_at, hash_password(new)
    )
    if not changed:
        raise WrongPasswordError("The password was changed meanwhile.")
    repository.revoke_sessions(connection, claims.user_id, but=claims.family_id)
    throttle.succeed(connection, check.subject)
    record(connection, actor, "user.password_changed", actor.id, None, None, actor.request_id)


def _values(wanted: UserUpdate, target: AnyRow) -> dict[str, Any]:
    values = wanted.model_dump(exclude_unset=True, exclude={"unlock"})
    nulls = [name for name, value in values.items() if value is None]
    if nulls:
        errors = [FieldError(f"#/{name}", "must not be null") for name in nulls]
        raise InvalidInputError("These members cannot be removed.", errors=errors)
    if (password := values.pop("password", None)) is not None:
        _refuse_weak(password, target.email, "password")
        values["password_hash"] = hash_password(password)
    return values


def _unlock(connection: sa.Connection, settings: Settings, target: AnyRow) -> None:
    account = throttle.account_subject(settings, target.email)
    own = throttle.password_subject(settings, to_text(USER, target.id))
    repository.forget_attempts(connection, [account, own])


def _refuse_weak(password: str, email: str, member: str) -> None:
    fault = password_fault(password, email)
    if fault is not None:
        raise WeakPasswordError(member, fault)


def _require_admin(actor: Actor, locked: dict[UUID, AnyRow]) -> None:
    """Look again under the locks: the caller may have been demoted a moment ago."""
    me = locked.get(_parse(actor.id))
    if me is None or me.role != "admin" or not me.is_active:
        raise ForbiddenError("You are no administrator any more.")


def _keep_an_admin(locked: dict[UUID, AnyRow], but: UUID) -> None:
    others = [r for r in locked.values() if r.id != but and r.role == "admin" and r.is_active]
    if not others:
        raise LastAdminError("This is the last active administrator. Make another one first.")


def _found(locked: dict[UUID, AnyRow], target_id: UUID, user_id: str) -> AnyRow:
    if target_id not in locked:
        raise UserNotFoundError(f"There is no user {user_id}.")
    return locked[target_id]


def _parse(user_id: str) -> UUID:
    try:
        return parse(USER, user_id)
    except MalformedIdError:
        raise UserNotFoundError(f"There is no user {user_id}.") from None


def _user(row: AnyRow) -> User:
    return User(
        id=to_text(USER, row.id),
        email=row.email,
        role=row.role,
        is_active=row.is_active,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        password_changed_at=row.password_changed_at,
        last_login_at=row.last_login_at,
    )
