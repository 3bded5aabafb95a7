"""The sweep: invoked by a schedule."""

from __future__ import annotations

from typing import Any

from functions.gateway.sweeping import Swept, sweep
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.events.wake import wake_relay
from shared.observability.logging import get_logger


def handler(event: dict[str, Any], context: Any) -> Swept:
    """Give every decision whose process died its outcome."""
    swept = sweep(get_engine())
    if swept["lost"]:
        get_logger().warning("requests were lost", extra=dict(swept))
        wake_relay(get_settings())
    return swept
