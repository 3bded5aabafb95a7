"""Idempotency-Key: a request that is sent twice has one effect and one answer.

The record lies in the database, under the hash of caller, route and key. Where the effect is one
transaction (all of ``/api``) the record belongs to it: both are there or neither, and a second
request that comes meanwhile waits for the first one's lock. Where it is not (a model is called),
``begin`` is committed before and marks the key as held for ``hold_s``; a process that dies frees it
by that time.

Only answers are kept whose effect is committed: an error leaves nothing, and the same request may
be sent again. They are kept for 24 hours, encrypted: the secret of a created API key must not lie
in the database, and only who knows the Idempotency-Key (and our signing secret) can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.auth.tokens import derived_keys
from shared.config import get_settings
from shared.db.tables import idempotency_keys
from shared.errors import ConflictError, DomainError, FieldError, InvalidInputError
from shared.kit.ids import uuid7

KEPT_S = 24 * 3_600
_POINTER = "header:idempotency-key"
_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_NONCE_BYTES = 12

Headers = Sequence[tuple[str, str]]


class MalformedKeyError(DomainError):
    status, code, title = 400, "malformed-idempotency-key", "Malformed Idempotency-Key"


class KeyInUseError(ConflictError):
    code, title = "idempotency-key-in-use", "Idempotency-Key in use"


class KeyReusedError(InvalidInputError):
    code, title = "idempotency-key-reused", "Idempotency-Key used for another request"


@dataclass(frozen=True, slots=True)
class Fresh:
    """The ticket of a request that comes for the first time: execute it, then ``finish``."""

    id: bytes
    holder: UUID
    key: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What the first request was answered."""

    status: int
    headers: Headers
    body: bytes


def check_key(key: str) -> str:
    """Return the header's value if it is 1 to 255 printable ASCII characters.

    Raises
    ------
    MalformedKeyError
        Otherwise.
    """
    if not _PRINTABLE.fullmatch(key):
        raise MalformedKeyError(
            "Idempotency-Key takes 1 to 255 printable ASCII characters, such as a UUID.",
            errors=[FieldError(_POINTER, "1 to 255 printable ASCII characters")],
        )
    return key


def fingerprint_of(*parts: bytes) -> bytes:
    """Return what tells requests apart: method, path, body and whatever else changes the effect."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def begin(
    connection: sa.Connection,
    caller_id: str,
    route: str,
    key: str,
    fingerprint: bytes,
    *,
    hold_s: float = 60.0,
) -> Fresh | Replay:
    """Claim the key for this request, or return what an equal request was answered before.

    Waits for a transaction that has claimed the same key and is not yet committed.

    Raises
    ------
    KeyInUseError
        If an equal request is being executed, or its answer cannot be read any more (409).
    KeyReusedError
        If the key came with another request (422).
    MalformedKeyError
        If the key is no such key (400).
    """
    check_key(key)
    keyed = hmac.digest(key.encode(), b"fingerprint" + fingerprint, "sha256")
    fresh = Fresh(fingerprint_of(caller_id.encode(), route.encode(), key.encode()), uuid7(), key)
    while True:
        if _claim(connection, fresh, keyed, hold_s):
            return fresh
        found = connection.execute(
            sa.select(
                idempotency_keys.c.fingerprint,
                idempotency_keys.c.status,
                idempotency_keys.c.answer,
            ).where(idempotency_keys.c.id == fresh.id)
        ).one_or_none()
        if found is not None:
            break
        # Deleted between the two statements: free again.
    if not hmac.compare_digest(found.fingerprint, keyed):
        raise KeyReusedError(
            "This Idempotency-Key came with another request. Send a new key with a new request.",
            errors=[FieldError(_POINTER, "used for another request")],
        )
    if found.status is None:
        raise KeyInUseError(
            "The first request with this Idempotency-Key is still being executed. Try again.",
            headers={"Retry-After": "1"},
        )
    headers, body = _decrypt(fresh, found.answer)
    return Replay(found.status, headers, body)


def finish(
    connection: sa.Connection, ticket: Fresh, status: int, headers: Headers, body: bytes
) -> bool:
    """Keep the answer for 24 hours; return False if somebody else holds the key by now."""
    kept = connection.execute(
        sa.update(idempotency_keys)
        .where(idempotency_keys.c.id == ticket.id, idempotency_keys.c.holder == ticket.holder)
        .values(
            status=status, answer=_encrypt(ticket, headers, body), expires_at=_seconds_ahead(KEPT_S)
        )
    )
    return kept.rowcount == 1


def abandon(connection: sa.Connection, ticket: Fresh) -> None:
    """Free the key: nothing was done, so the request may be sent again."""
    connection.execute(
        sa.delete(idempotency_keys).where(
            idempotency_keys.c.id == ticket.id,
            idempotency_keys.c.holder == ticket.holder,
            idempotency_keys.c.status.is_(None),
        )
    )


def delete_expired(connection: sa.Connection) -> int:
    """Delete the records whose time is over; return how many."""
    expired = idempotency_keys.c.expires_at <= sa.func.clock_timestamp()
    return connection.execute(sa.delete(idempotency_keys).where(expired)).rowcount


def _claim(connection: sa.Connection, ticket: Fresh, keyed: bytes, hold_s: float) -> bool:
    values = {
        "fingerprint": keyed,
        "holder": ticket.holder,
        "status": None,
        "answer": None,
        "expires_at": _seconds_ahead(hold_s),
    }
    claim = (
        insert(idempotency_keys)
        .values(id=ticket.id, **values)
        .on_conflict_do_update(
            index_elements=["id"],
            set_=values,
            where=idempotency_keys.c.expires_at <= sa.func.clock_timestamp(),
        )
        .returning(idempotency_keys.c.id)
    )
    return connection.execute(claim).one_or_none() is not None


def _seconds_ahead(seconds: float) -> sa.ColumnElement[object]:
    return sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _encrypt(ticket: Fresh, headers: Headers, body: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    plain = json.dumps(list(headers)).encode() + b"\n" + body
    return nonce + AESGCM(_answer_keys(ticket.key)[0]).encrypt(nonce, plain, ticket.id)


def _decrypt(ticket: Fresh, answer: bytes) -> tuple[Headers, bytes]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    for secret in _answer_keys(ticket.key):
        try:
            plain = AESGCM(secret).decrypt(answer[:_NONCE_BYTES], answer[_NONCE_BYTES:], ticket.id)
        except InvalidTag:
            continue
        head, _, body = plain.partition(b"\n")
        return [(name, value) for name, value in json.loads(head)], body
    # Executing it again would be a second effect.
    raise KeyInUseError(
        "This request was executed, but its answer was kept under a signing secret that is gone. "
        "Read the resource instead."
    )


def _answer_keys(key: str) -> list[bytes]:
    """Return the AES key under the current signing secret, then the one under the previous."""
    secrets = derived_keys(get_settings(), "idempotency")
    return [hmac.digest(secret, key.encode(), "sha256") for secret in secrets]
