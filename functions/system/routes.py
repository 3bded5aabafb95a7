"""/, /health, /api/status, /metrics, /openapi.json, /docs, and every path that is not there."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from functions.system import service
from functions.system.documents import DOCS_CSP, DOCS_PAGE, allowed_methods, openapi_text
from shared.config import get_settings
from shared.db.engine import get_engine
from shared.kit.clock import utc_now
from shared.schemas.system import Health, Root, Status
from shared.web.app import VERSION
from shared.web.responses import problems
from shared.web.routing import Route
from shared.web.session import Reader

router = APIRouter(tags=["system"], route_class=Route)
fallback = APIRouter(route_class=Route)

_HEALTH: dict[int | str, dict[str, Any]] = {
    200: {"description": "Alive and ready."},
    503: {"model": Health, "description": "Not ready; the failing part is named."},
}


@router.get("/", operation_id="system_root", summary="Name and links", responses=problems())
async def root() -> Root:
    """Name, version and where to go. Browsers get the dashboard here."""
    links = {"docs": "/docs", "openapi": "/openapi.json", "health": "/health", "api": "/api/status"}
    return Root(name="Da Vinci", version=VERSION, links=links)


@router.get("/health", operation_id="system_health", summary="Health", responses=_HEALTH)
async def health(response: Response) -> Health:
    """Check database, bus and learner; 503 names the failing part."""
    return _health(response)


@router.get("/api/health", operation_id="system_api_health", summary="Health", responses=_HEALTH)
async def api_health(response: Response) -> Health:
    """The same under /api, for checks that go through the CDN."""
    return _health(response)


@router.get(
    "/api/status",
    operation_id="system_status",
    summary="The system at one look",
    responses=problems(401, 403),
)
async def status(connection: Reader) -> Status:
    """Return version, availability, traffic per level, models by status and what waits."""
    return service.status_of(connection, get_settings(), utc_now())


@router.get(
    "/metrics",
    operation_id="system_metrics",
    summary="Prometheus exposition",
    response_class=Response,
    responses={
        200: {"description": "Text exposition.", "content": {"text/plain": {}}},
        **problems(401),
    },
)
async def metrics(connection: Reader) -> Response:
    """Counters for Prometheus; open on loopback, with the scrape token elsewhere."""
    text = service.exposition(connection)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/openapi.json",
    operation_id="system_openapi",
    summary="OpenAPI document of all domains",
    response_class=Response,
    responses={
        200: {"description": "OpenAPI 3.1.", "content": {"application/json": {}}},
        **problems(),
    },
)
async def openapi() -> Response:
    """Return the document that this release was built with."""
    headers = {"cache-control": "public, max-age=300"}
    return Response(openapi_text(), media_type="application/json", headers=headers)


@router.get(
    "/docs",
    operation_id="system_docs",
    summary="API documentation for people",
    response_class=Response,
    responses={200: {"description": "A page.", "content": {"text/html": {}}}, **problems()},
)
async def docs() -> Response:
    """Show the OpenAPI document."""
    return Response(
        DOCS_PAGE, media_type="text/html", headers={"content-security-policy": DOCS_CSP}
    )


@fallback.api_route(
    "/{path:path}",
    methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"],
    operation_id="system_fallback",
    include_in_schema=False,
)
async def nothing_here(request: Request) -> None:
    """Answer what no route takes: 405 where another method would do, 404 elsewhere."""
    methods = allowed_methods(request.url.path)
    if methods:
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    raise HTTPException(404)


def _health(response: Response) -> Health:
    found = service.check_health(get_engine(), utc_now())
    if found.status != "ok":
        response.status_code = 503
        response.headers["retry-after"] = "2"
    return found
