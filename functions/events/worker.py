"""The relay: invoked by a schedule, and by writers right after a commit."""

from __future__ import annotations

import json
import time
from typing import Any

from shared.config import get_settings
from shared.db.engine import get_engine
from shared.events.bus import Entry, bus_for
from shared.events.relay import relay_once
from shared.kit.clock import utc_now
from shared.observability.logging import get_logger

# A writer's wake-up may come before the last write of its burst: look until nothing is left.
_MOST_LOOKS = 15


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Number and publish until nothing is waiting; tell the projections that the log has grown."""
    total = {"numbered": 0, "published": 0}
    for _ in range(_MOST_LOOKS):
        numbered, published = _relay()
        total["numbered"] += numbered
        total["published"] += published
        if not numbered:
            break
        time.sleep(get_settings().relay_look_again_s)
    get_logger().info("relayed", extra=total)
    return total


def _relay() -> tuple[int, int]:
    now = utc_now()
    bus = bus_for(get_settings())
    numbered, published = relay_once(get_engine(), bus, now)
    if numbered:
        # One message per run, not per event: projections read the log itself.
        detail = json.dumps({"numbered": numbered})
        bus.put([Entry("davinci.events", "EventLogAdvanced", detail, now.isoformat())])
    return numbered, published
