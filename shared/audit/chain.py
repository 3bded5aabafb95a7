"""The chain: what an entry's hash covers. Pure; anybody can recompute it from an export.

An entry's hash is SHA-256 over canonical JSON (members sorted, no spaces, ASCII) of all its other
members, among them the hash of the entry before; the first follows 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

GENESIS = bytes(32)
_TEXTS = (
    "actor_id", "actor_kind", "actor_name", "action", "resource", "before", "after", "request_id",
)  # fmt: skip


def canonical(value: object) -> str:
    """Return the one JSON text of a value.

    Raises
    ------
    ValueError, TypeError
        If JSON cannot say it.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(entry: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry; its own member ``hash`` is not looked at."""
    at: datetime = entry["at"]
    said = {
        "seq": entry["seq"],
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "prev_hash": entry["prev_hash"].hex(),
        **{name: entry[name] for name in _TEXTS},
    }
    return hashlib.sha256(canonical(said).encode()).digest()
