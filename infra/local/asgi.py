"""The container host: every domain from one process.

``uvicorn infra.local.asgi:app --http httptools --no-access-log --no-server-header``. Requests for a
model's answer wait most of their time, so they share the server's thread (``Together``), up to
``DAVINCI_HTTP_REQUESTS`` at once, and what they write at the same time is written by one statement
(``shared.db.gathering``). Everything else, and large prompts, has a thread of its own, one of
``DAVINCI_HTTP_THREADS`` (``Threaded``). Each kind has half of the ``DAVINCI_DATABASE_CONNECTIONS``;
as many threads as that compute at once, the others wait their turn (``shared.kit.turns``). On
SIGTERM requests in work are finished first.

Start it with ``MALLOC_ARENA_MAX=2`` where the C library is glibc: an arena for each thread costs
10 MB, and threads that compute in turn never allocate side by side.
"""

from __future__ import annotations

import gc

from infra.local.apps import all_domains
from infra.local.together import Together
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.decisions.process import get_world_cache
from shared.kit.waiting import install
from shared.providers.client import get_client
from shared.web.threaded import Threaded

_WAITING_ROUTES = ("/v1/chat/completions", "/v1/embeddings")


def create_service() -> Together:
    """Return all domains as one service."""
    # Made before the first threads come: lru_cache lets several make one each, and a second engine
    # would be a second pool.
    get_engine()
    get_world_cache()
    get_client()
    settings = get_settings()
    domains = all_domains()
    threaded = Threaded(
        domains, threads=settings.http_threads, turns=max(1, settings.database_connections // 2),
        max_body_bytes=settings.max_body_bytes,
    )  # fmt: skip
    together = Together(domains, threaded, _WAITING_ROUTES, at_once=settings.http_requests)
    install(together)
    return together


app = create_service()
# What was made so far is no garbage: the collector need not look at it again. Requests leave none
# behind (they have no circles), so it need not come as often as it would either.
gc.freeze()
gc.set_threshold(5_000, 20, 20)
