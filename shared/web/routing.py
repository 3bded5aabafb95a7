"""``Route``: what every route of ours does around its function. Give it to each domain's router::

    router = APIRouter(tags=["models"], route_class=Route)

It reads bodies as strict JSON and keeps the answers of requests that came with an Idempotency-Key.
``authorize`` asks it which query parameters and media types the route knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import cached_property
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shared.web import idempotency, strict_json
from shared.web.session import Claim


class StrictRequest(Request):
    """A request whose JSON is read by ``strict_json``."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = strict_json.loads(await self.body())
        return self._json


class Route(APIRoute):
    """A route of a domain."""

    @cached_property
    def query_names(self) -> frozenset[str]:
        """The query parameters that the route or one of its dependencies takes."""
        return frozenset(name for name, _ in _query_parameters(self.dependant))

    @cached_property
    def query_lists(self) -> frozenset[str]:
        """Those of them that may come several times."""
        return frozenset(n for n, kind in _query_parameters(self.dependant) if _is_list(kind))

    @cached_property
    def offers(self) -> tuple[str, ...]:
        """The media types that a successful answer may have, the usual one first."""
        named = [
            kind
            for status, response in self.responses.items()
            if str(status).startswith("2")
            for kind in response.get("content", ())
        ]
        # ``response_class=Response`` says that the route makes its answers by itself.
        made_by_fastapi = getattr(self.response_class, "value", self.response_class) is not Response
        return tuple(dict.fromkeys((["application/json"] if made_by_fastapi else []) + named))

    async def guarded(self, work: Awaitable[Response]) -> Response:
        """Return what ``work`` answers; here a domain turns its errors into those of its API."""
        return await work

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            # Starlette's own way to make a request of another class out of one.
            strict = StrictRequest(request.scope, request.receive, request._send)  # noqa: SLF001
            response = await self.guarded(handle(strict))
            claim: Claim | None = request.scope["state"].get("claim")
            if claim is not None:
                # The transaction is still open: the answer is kept if and only if it commits.
                idempotency.finish(
                    claim.connection,
                    claim.ticket,
                    response.status_code,
                    [(n.decode("latin-1"), v.decode("latin-1")) for n, v in response.raw_headers],
                    bytes(response.body),
                )
            return response

        return handle_once


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, Any]]:
    yield from ((p.alias, p.field_info.annotation) for p in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


def _is_list(kind: Any) -> bool:
    return any(get_origin(part) is list for part in (kind, *get_args(kind)))
