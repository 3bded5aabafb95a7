"""The container host: every domain from one process, each request in a thread of its own.

``uvicorn infra.local.asgi:app --http httptools --no-access-log --no-server-header``. There are
``DAVINCI_HTTP_THREADS`` threads and only ``DAVINCI_DATABASE_CONNECTIONS`` connections, because a
request waits for a model most of its time and holds a connection for a few milliseconds. As many
requests as there are connections compute at once; the others wait their turn
(``shared.kit.turns``). On SIGTERM requests in work are finished first.

Start it with ``MALLOC_ARENA_MAX=2`` where the C library is glibc: an arena for each thread costs
10 MB, and threads that compute in turn never allocate side by side.
"""

from __future__ import annotations

import gc

from infra.local.apps import all_domains
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.providers.client import get_client
from shared.web.threaded import Threaded


def create_service() -> Threaded:
    """Return all domains as one service."""
    # Made before the first threads come: lru_cache lets several make one each, and a second engine
    # would be a second pool.
    get_engine()
    get_world_cache()
    get_client()
    settings = get_settings()
    return Threaded(
        all_domains(), threads=settings.http_threads, turns=settings.database_connections,
        max_body_bytes=settings.max_body_bytes,
    )  # fmt: skip


app = create_service()
# What was made so far is no garbage: the collector need not look at it again.
gc.freeze()
