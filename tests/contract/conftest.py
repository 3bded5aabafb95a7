"""The whole API as one ASGI application on a real PostgreSQL, with a provider on loopback."""

from __future__ import annotations

from tests.integration.conftest import (
    admin,
    api,
    clean_database,
    environment,
    make_key,
    registry,
    upstream,
)

__all__ = ["admin", "api", "clean_database", "environment", "make_key", "registry", "upstream"]
