"""``create_app``: the one way to make a domain's HTTP application.

The same app runs behind Lambda (``lambda_handler_for``), in the local cloud and in a container.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from shared.auth.access import ACCESS
from shared.config import get_settings
from shared.web import problems
from shared.web.boundary import Boundary
from shared.web.callers import authorize
from shared.web.direct import Direct, DirectRoute
from shared.web.routing import Route

VERSION = "0.3.0"


def create_app(title: str, *routers: APIRouter) -> FastAPI:
    """Return an application: a domain's router, or several, behind authorization and limits.

    The OpenAPI document is generated ahead of time (``davinci openapi``): building it at run time
    costs 150 ms of cold start.

    Raises
    ------
    RuntimeError
        If a route has no entry in the access table, or is none of ours. Default deny starts here.
    """
    app = FastAPI(
        title=title, version=VERSION, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.operation_id not in ACCESS:
                raise RuntimeError(
                    f"{route.path} ({route.operation_id}) is not in the access table"
                )
        if not all(isinstance(route, Route) for route in router.routes):
            raise RuntimeError(f"the router {router.tags} needs route_class=Route")
        app.include_router(router, dependencies=[Depends(authorize)])
    problems.install(app)
    direct = {
        route.path: route
        for router in routers
        for route in router.routes
        if isinstance(route, DirectRoute) and route.is_direct
    }
    if direct:
        app.add_middleware(Direct, routes=direct)
    app.add_middleware(Boundary, settings=get_settings())
    return app
