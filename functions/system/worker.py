"""Daily housekeeping: the coming days' partitions."""

from __future__ import annotations

from typing import Any

from shared.db.engine import get_engine, transaction
from shared.db.partitions import ensure_partitions
from shared.kit.clock import utc_now


def handler(event: dict[str, Any], context: Any) -> dict[str, str]:
    """Create the partitions up to a week ahead; safe to repeat."""
    today = utc_now().date()
    with transaction(get_engine()) as connection:
        ensure_partitions(connection, today)
    return {"partitions_from": today.isoformat()}
