"""API Gateway (HTTP API, payload 2.0) to ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from mangum import Mangum

# What Mangum leaves as text; anything else is base64, which doubles nothing but annoys everyone.
_TEXT = [
    "application/json",
    "application/problem+json",
    "application/x-ndjson",
    "application/openapi+json",
    "text/",
]


def lambda_handler_for(app: FastAPI) -> Any:
    """Return the Lambda handler of ``app``.

    Lifespan is off: Mangum would run start-up at every invocation.
    """
    # Mangum asks for the current loop at every call; since Python 3.12 nobody makes one unasked.
    asyncio.set_event_loop(asyncio.new_event_loop())
    return Mangum(app, lifespan="off", text_mime_types=_TEXT)
