"""Identifiers: UUIDv7 inside, prefixed text where people see them.

A UUIDv7 begins with its creation instant in milliseconds, so ids sort by time and a table can be
partitioned by day on its id alone (``floor_at`` gives the bounds).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

DECISION, POLICY, DEPLOYMENT, MODEL = "dec", "pol", "dep", "mdl"
WEBHOOK, KEY, ALERT, EVENT = "whk", "key", "alt", "evt"
USER, FEEDBACK = "usr", "fbk"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MalformedIdError(ValueError):
    """The text is not an id of the expected kind."""


def uuid7(now_ms: int | None = None) -> UUID:
    """Return a new UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    stamp = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = int.from_bytes(os.urandom(10), "big")
    value = (stamp & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 64 & 0xFFF) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=value)


def floor_at(instant: datetime) -> UUID:
    """Return the smallest UUIDv7-ordered value at ``instant``: a bound for ranges and partitions.

    Instants before 1970 have no ids; their bound is the smallest.
    """
    since_epoch_ms = (instant - _EPOCH) // timedelta(milliseconds=1)
    return UUID(int=max(0, since_epoch_ms) << 80)


def instant_of(value: UUID) -> datetime:
    """Return the creation instant of a UUIDv7, UTC, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=value.int >> 80)


def to_text(prefix: str, value: UUID) -> str:
    """Return ``dec_018f...``: the prefix and 32 hex digits."""
    return f"{prefix}_{value.hex}"


def parse(prefix: str, text: str) -> UUID:
    """Return the UUID of a prefixed id.

    Raises
    ------
    MalformedIdError
        If the prefix differs or the rest is not 32 lower-case hex digits.
    """
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != 32 or not set(tail) <= set("0123456789abcdef"):
        raise MalformedIdError(f"expected {prefix}_ and 32 hex digits")
    return UUID(hex=tail)
