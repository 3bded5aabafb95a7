"""Wake the relay after a write, at most once a second per process.

A convenience for latency only: the schedule sweeps what a lost wake-up leaves behind, so a failure
here is logged and forgotten.
"""

from __future__ import annotations

import time

from shared.config import Settings
from shared.events.bus import BusUnavailableError, post_to_local_cloud
from shared.observability.logging import get_logger

_MIN_INTERVAL_S = 1.0
_last_wake = -_MIN_INTERVAL_S


def wake_relay(settings: Settings) -> None:
    """Ask for a relay run soon; never raises, never waits for the run."""
    global _last_wake
    if not settings.relay_function or time.monotonic() - _last_wake < _MIN_INTERVAL_S:
        return
    _last_wake = time.monotonic()
    try:
        if settings.bus == "local":
            path = f"/invoke/{settings.relay_function}"
            token = settings.local_cloud_token.get_secret_value()
            post_to_local_cloud(settings.local_cloud_url, token, path, {"wake": True})
        else:
            _invoke_lambda(settings.relay_function)
    except BusUnavailableError as error:
        get_logger().warning("the relay was not woken: %s", error)


def _invoke_lambda(function: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        boto3.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b"{}")
    except (BotoCoreError, ClientError) as error:
        raise BusUnavailableError(str(error)) from error
