"""The relay: invoked by a schedule, and by writers right after a commit."""

from __future__ import annotations

import json
from typing import Any

from shared.config import get_settings
from shared.db.engine import get_engine
from shared.events.bus import Entry, bus_for
from shared.events.relay import relay_once
from shared.kit.clock import utc_now
from shared.observability.logging import get_logger


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Number and publish what is waiting; tell the projections that the log has grown."""
    now = utc_now()
    bus = bus_for(get_settings())
    numbered, published = relay_once(get_engine(), bus, now)
    if numbered:
        # One message per run, not per event: projections read the log itself.
        detail = json.dumps({"numbered": numbered})
        bus.put([Entry("davinci.events", "EventLogAdvanced", detail, now.isoformat())])
    get_logger().info("relayed", extra={"numbered": numbered, "published": published})
    return {"numbered": numbered, "published": published}
