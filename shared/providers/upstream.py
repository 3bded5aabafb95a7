"""How to call a registered model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upstream:
    """Endpoint, name there, and where the key lies. ``latency_source``: measured or reported."""

    id: str
    provider: str
    base_url: str
    upstream_name: str
    secret_ref: str | None
    latency_source: str
