"""Daily housekeeping: the coming days' partitions, what limits and idempotency need no more."""

from __future__ import annotations

from typing import Any

from shared.db.engine import get_engine, transaction
from shared.db.partitions import ensure_partitions
from shared.kit.clock import utc_now
from shared.limits import delete_full
from shared.web.idempotency import delete_expired


def handler(event: dict[str, Any], context: Any) -> dict[str, str | int]:
    """Create the partitions up to a week ahead, delete what has expired; safe to repeat."""
    today = utc_now().date()
    with transaction(get_engine()) as connection:
        ensure_partitions(connection, today)
    with transaction(get_engine()) as connection:
        buckets, answers = delete_full(connection), delete_expired(connection)
    return {
        "partitions_from": today.isoformat(),
        "full_rate_limit_buckets": buckets,
        "expired_idempotency_keys": answers,
    }
