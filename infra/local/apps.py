"""All domains in one process: the ASGI service for containers, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from functions.auth.routes import router as auth
from functions.events.routes import router as events
from functions.gateway.routes import router as gateway
from functions.learning.routes import router as learning
from functions.models.routes import router as models
from functions.neural.routes import router as neural
from functions.policies.routes import router as policies
from functions.system.routes import fallback
from functions.system.routes import router as system
from shared.auth.access import ACCESS
from shared.schemas.common import OpenAIError, Problem
from shared.web.app import VERSION, create_app

DOMAINS = (system, auth, neural, gateway, learning, models, policies, events)

_DESCRIPTION = """Da Vinci decides which model serves each LLM request, learns from every outcome
and rolls new routing policies out safely.

Errors under `/api` are RFC 9457 problems; under `/v1` they are OpenAI's error object. People send
the access token of `POST /api/auth/login`, applications an API key, both as bearer tokens."""


def all_domains() -> FastAPI:
    """Return one application with every domain's routes."""
    return create_app("Da Vinci", *DOMAINS, fallback)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all domains, with each operation's security."""
    routes = [route for router in DOMAINS for route in router.routes]
    document = get_openapi(
        title="Da Vinci", version=VERSION, description=_DESCRIPTION, routes=routes
    )
    for error in (Problem, OpenAIError):  # routes refer to them by name
        schema = error.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"] |= {**schema.pop("$defs", {}), error.__name__: schema}
    document["components"]["securitySchemes"] = {
        "person": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "dv_<env>_<key>"},
        "api_key_header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "scrape": {"type": "http", "scheme": "bearer"},
    }
    for route in (r for r in routes if isinstance(r, APIRoute)):
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = _security(str(route.operation_id))
    return document


def _security(operation_id: str) -> list[dict[str, list[str]]]:
    access = ACCESS[operation_id]
    if access.public:
        return []
    if access.scrape:
        return [{"scrape": []}]
    found: list[dict[str, list[str]]] = []
    if access.role is not None:
        found.append({"person": [access.role]})
    if access.scope is not None or access.any_key:
        scopes: list[str] = [access.scope] if access.scope is not None else []
        found += [{"api_key": scopes}, {"api_key_header": scopes}]
    return found
