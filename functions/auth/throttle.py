"""Guessing is slow: by account, not by address only, and without locking anybody out for good.

The first wrong passwords cost nothing, then the account waits 1 s, 2 s, 4 s ... up to 15 minutes
between tries, whether it exists or not. An attempt counts before its password is looked at, so
guessing in parallel gains nothing. A browser that logged in before carries a device cookie and has
a counter of its own (OWASP's device cookies): a stranger's guesses do not lock it out. Otherwise an
administrator unlocks the account, or a successful login after the wait does.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime

import sqlalchemy as sa

from functions.auth import repository
from functions.auth.errors import TooManyAttemptsError
from shared.audit import Actor, record
from shared.auth.tokens import derived_key, derived_keys
from shared.config import Settings
from shared.kit.ids import uuid7

FREE_ATTEMPTS = 3
LONGEST_WAIT_S = 900
# From here on (a wait of a minute) it is an attack or a forgotten password: an audit entry.
LOCKED_AT = 10
DEVICE_TTL_S = 180 * 86_400
_PURGED_AT_A_TIME = 50


def account_subject(settings: Settings, email: str) -> bytes:
    """Return the counter of an account; keyed, so that the table tells nobody's address."""
    return _subject(settings, "account", email)


def login_subject(settings: Settings, email: str, device: str | None, now: datetime) -> bytes:
    """Return the counter of a login: the device's if the cookie fits the e-mail, else the
    account's.
    """
    if device is not None and _is_known(settings, email, device, now):
        return _subject(settings, "device", device)
    return account_subject(settings, email)


def password_subject(settings: Settings, user_id: str) -> bytes:
    """Return the counter of guesses at the current password of somebody logged in."""
    return _subject(settings, "password", user_id)


def admit(connection: sa.Connection, subject: bytes, resource: str, actor: Actor) -> None:
    """Count an attempt. Commit it before the password is looked at.

    Raises
    ------
    TooManyAttemptsError
        If the subject has to wait; nothing is counted then.
    """
    claim = repository.claim_attempt(connection, subject, uuid7(), FREE_ATTEMPTS, LONGEST_WAIT_S)
    if not claim.admitted:
        raise TooManyAttemptsError(claim.wait_s)
    if claim.failures == LOCKED_AT:
        # For unknown accounts too: the same statements, so the same time.
        record(
            connection, actor, "login.locked", resource, None, {"attempts": LOCKED_AT},
            actor.request_id,
        )  # fmt: skip


def succeed(connection: sa.Connection, subject: bytes) -> None:
    """Forget the subject's attempts, and some that are too old to count."""
    repository.forget_attempts(connection, [subject])
    repository.forget_old_attempts(connection, _PURGED_AT_A_TIME)


def new_device_cookie(settings: Settings, email: str, now: datetime) -> str:
    """Return a cookie that makes the browser known for this e-mail, without naming it."""
    body = f"{secrets.token_urlsafe(16)}.{int(now.timestamp())}"
    mac = _device_mac(derived_key(settings, "device-cookie"), body, email)
    return f"{body}.{mac}"


def _is_known(settings: Settings, email: str, cookie: str, now: datetime) -> bool:
    body, _, mac = cookie.rpartition(".")
    issued_at = body.partition(".")[2]
    if not mac.isascii() or not (issued_at.isascii() and issued_at.isdigit()):
        return False
    if len(cookie) > 128 or int(issued_at) + DEVICE_TTL_S < now.timestamp():
        return False
    return any(
        hmac.compare_digest(mac, _device_mac(key, body, email))
        for key in derived_keys(settings, "device-cookie")
    )


def _device_mac(key: bytes, body: str, email: str) -> str:
    mac = hmac.digest(key, f"{body}.{email}".encode(errors="replace"), "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _subject(settings: Settings, kind: str, name: str) -> bytes:
    key = derived_key(settings, "login-throttle")
    return hmac.digest(key, f"{kind}:{name}".encode(errors="replace"), "sha256")
