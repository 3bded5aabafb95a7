"""Wake the relay after a write, at most once a second per process.

A convenience for latency only: the schedule sweeps what a lost wake-up leaves behind, so a failure
here is logged and forgotten.
"""

from __future__ import annotations

import time

from shared.config import Settings
from shared.events.bus import BusUnavailableError, post_to_local_cloud
from shared.kit.waiting import elsewhere
from shared.observability.logging import get_logger

_MIN_INTERVAL_S = 1.0
_last: dict[str, float] = {}


def wake_relay(settings: Settings) -> None:
    """Ask for a relay run soon; never raises, never waits for the run."""
    function, now = settings.relay_function, time.monotonic()
    if not function or now - _last.get(function, -_MIN_INTERVAL_S) < _MIN_INTERVAL_S:
        return
    _last[function] = now
    try:
        elsewhere(lambda: _wake(settings))
    except BusUnavailableError as error:
        get_logger().warning("the relay was not woken: %s", error)


def _wake(settings: Settings) -> None:
    if settings.bus == "local":
        path = f"/invoke/{settings.relay_function}"
        token = settings.local_cloud_token.get_secret_value()
        post_to_local_cloud(settings.local_cloud_url, token, path, {"wake": True})
    else:
        _invoke_lambda(settings.relay_function)


def _invoke_lambda(function: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        boto3.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b"{}")
    except (BotoCoreError, ClientError) as error:
        raise BusUnavailableError(str(error)) from error
