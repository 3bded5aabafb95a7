"""All domains in one process: the ASGI service for containers, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from functions.auth.routes import router as auth
from functions.events.routes import router as events
from functions.gateway.routes import router as gateway
from functions.learning.routes import router as learning
from functions.models.routes import router as models
from functions.neural.routes import router as neural
from functions.policies.routes import router as policies
from functions.system.routes import fallback
from functions.system.routes import router as system
from shared.web.app import VERSION, create_app

# Routes are tried in this order: what is called for every request of a client comes first.
DOMAINS = (gateway, neural, learning, auth, models, policies, events, system)

_DESCRIPTION = """Da Vinci decides which model serves each LLM request, learns from every outcome
and rolls new routing policies out safely.

Errors under `/api` are RFC 9457 problems; under `/v1` they are OpenAI's error object. People send
the access token of `POST /api/auth/login`, applications an API key, both as bearer tokens."""


def all_domains() -> FastAPI:
    """Return one application with every domain's routes."""
    return create_app("Da Vinci", *DOMAINS, fallback)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all domains, complete (see ``infra.openapi``)."""
    from infra.openapi.document import complete  # containers serve no document

    routes = [route for router in DOMAINS for route in router.routes]
    document = get_openapi(
        title="Da Vinci", version=VERSION, description=_DESCRIPTION, routes=routes
    )
    return complete(document)
