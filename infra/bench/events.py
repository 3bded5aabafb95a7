"""Events as API Gateway makes them, for calling functions without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local.http_events import build_event
from infra.local.routes import RouteTable
from infra.local.system import System
from infra.local.template import load_system

CHECKOUT = Path(__file__).resolve().parents[2]


def load_template() -> System:
    """Return the system that the template describes."""
    return load_system(CHECKOUT / "template.yaml", parameters={"DatabaseUrl": "unused"})


def api_event(
    system: System, method: str, path: str, key: str, body: bytes = b""
) -> dict[str, Any]:
    """Return the event of one request with an API key.

    Raises
    ------
    ValueError
        If the template routes it nowhere.
    """
    match = RouteTable(system.routes).match(method, path)
    if match is None:
        raise ValueError(f"the template has no route for {method} {path}")
    headers = {
        "host": "127.0.0.1:8000",
        "user-agent": "bench",
        "accept": "*/*",
        "authorization": f"Bearer {key}",
    }
    if body:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    scope = {
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    return build_event(scope, body, match, request_id="bench", now=datetime.now(UTC))
