"""The process's world: one cache per function environment."""

from __future__ import annotations

from functools import lru_cache

from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.snapshot import WorldCache


@lru_cache(maxsize=1)
def get_world_cache() -> WorldCache:
    """Return the process's cache; it loads at the first decision."""
    return WorldCache(get_engine(), get_settings())
