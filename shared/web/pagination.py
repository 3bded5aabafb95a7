"""Cursors: opaque, signed, stable while rows come and go (they name a position, not an offset)."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any

from fastapi import Query

from shared.auth.tokens import derived_keys
from shared.config import get_settings
from shared.errors import FieldError, InvalidInputError

_MAC_BYTES = 12

Limit = Annotated[int, Query(ge=1, le=100, description="Items a page.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="next_cursor of the previous page.")
]


def encode_cursor(collection: str, position: Any) -> str | None:
    """Return an opaque cursor for a JSON-able position in the list named ``collection``.

    None, the position after the last page, has none.
    """
    if position is None:
        return None
    payload = json.dumps(position, separators=(",", ":")).encode()
    return urlsafe_b64encode(_macs(collection, payload)[0] + payload).rstrip(b"=").decode()


def decode_cursor(collection: str, cursor: str | None) -> Any:
    """Return the position of a cursor that we made for ``collection``; None is the beginning.

    Raises
    ------
    InvalidInputError
        If it was altered, or made by somebody else or for another list.
    """
    if cursor is None:
        return None
    not_ours = InvalidInputError(
        "The cursor is not one of ours. Start again without it.",
        errors=[FieldError("?cursor", "not a cursor of this API")],
    )
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise not_ours from error
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # A cursor outlives one rotation of the signing secret.
    if not any(hmac.compare_digest(mac, ours) for ours in _macs(collection, payload)):
        raise not_ours
    return json.loads(payload)


def refuse_empty_span(since: datetime | None, until: datetime | None) -> None:
    """Refuse a list over no time: a swapped ``from`` and ``to`` must not pass as "nothing there".

    Raises
    ------
    InvalidInputError
        If ``since`` does not lie before ``until``.
    """
    if since is not None and until is not None and since >= until:
        raise InvalidInputError(
            "The list would be over no time.",
            errors=[FieldError("?from", "from must be before to")],
        )


def _macs(collection: str, payload: bytes) -> list[bytes]:
    keys = derived_keys(get_settings(), f"cursor/{collection}")
    return [hmac.digest(key, payload, "sha256")[:_MAC_BYTES] for key in keys]
