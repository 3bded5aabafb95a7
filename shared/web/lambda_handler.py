"""API Gateway (HTTP API, payload 2.0) to ASGI."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
from typing import Any

# What Mangum leaves as text; anything else is base64, which doubles nothing but annoys everyone.
_TEXT = [
    "application/json",
    "application/problem+json",
    "application/x-ndjson",
    "application/openapi+json",
    "text/",
]
_thread = threading.local()


def lambda_handler_for(app_module: str) -> Any:
    """Import ``app_module`` and return the Lambda handler of its ``app``.

    What an import makes is no garbage: meanwhile the collector rests, which saves a tenth of a
    cold start, and afterwards it never looks at it again, which spares warm requests its pauses.
    """
    gc.disable()
    try:
        adapter = _adapter_for(importlib.import_module(app_module).app)
    finally:
        gc.freeze()
        gc.enable()

    def handler(event: Any, context: Any) -> Any:
        _use_own_loop()
        return adapter(event, context)

    return handler


def _adapter_for(app: Any) -> Any:
    # Here and not above, so that the collector rests for it too.
    from mangum import Mangum

    _use_own_loop()
    # Lifespan is off: Mangum would run start-up at every invocation.
    return Mangum(app, lifespan="off", text_mime_types=_TEXT)


def _use_own_loop() -> None:
    """Make this thread's one loop current: Mangum asks for it at every call, since Python 3.12
    nobody makes one unasked, and whoever called ``asyncio.run`` before took it away.
    """
    loop = getattr(_thread, "loop", None)
    if loop is None or loop.is_closed():
        loop = _thread.loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
