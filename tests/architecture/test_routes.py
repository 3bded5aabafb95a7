"""The template, the applications, the access table and the OpenAPI document tell the same story."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from shared.auth.access import ACCESS
from tests.fakes.lambda_client import routes_of

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
OPENAPI = ROOT / "functions" / "system" / "openapi.json"
# api.md: everything else needs credentials (and /metrics, but on loopback).
PUBLIC = {
    "GET /", "GET /health", "GET /api/health", "POST /api/auth/login", "POST /api/auth/refresh",
    "GET /api/auth/jwks", "GET /docs", "GET /openapi.json",
}  # fmt: skip


def routers() -> dict[str, APIRouter]:
    names = sorted(p.parent.name for p in (ROOT / "functions").glob("*/routes.py"))
    return {name: importlib.import_module(f"functions.{name}.routes").router for name in names}


def app_routes() -> dict[str, tuple[str, str]]:
    """Return ``METHOD /path`` -> (domain, operation id) of every route but the fallback."""
    return {
        f"{method} {_plain(route.path)}": (domain, str(route.operation_id))
        for domain, router in routers().items()
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(OPENAPI.read_text(encoding="utf-8"))
    return loaded


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    name = response.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = document()["components"]["responses"][name] if name else response
    return resolved


def _plain(path: str) -> str:
    """``{model_id:path}`` and ``{model_id+}`` are one thing."""
    return re.sub(r"\{(\w+)(?::path|\+)?\}", r"{\1}", path)


def test_template_routes_each_route_to_its_domain() -> None:
    templated = {
        f"{method} {_plain(path)}": handler for method, path, handler in routes_of(TEMPLATE)
    }
    served = {
        route: f"functions.{domain}.handler.handler" for route, (domain, _) in app_routes().items()
    }
    assert templated == served


def test_openapi_documents_each_route() -> None:
    assert {route: op["operationId"] for route, op in operations().items()} == {
        route: operation_id for route, (_, operation_id) in app_routes().items()
    }


def test_operation_ids_are_domain_and_verb() -> None:
    for domain, operation_id in app_routes().values():
        assert operation_id.startswith(f"{domain}_"), operation_id


def test_access_table_has_every_route_and_nothing_else() -> None:
    ids = {operation_id for _, operation_id in app_routes().values()}
    assert set(ACCESS) == ids | {"system_fallback"}


def test_every_operation_declares_its_security() -> None:
    schemes = set(document()["components"]["securitySchemes"])
    for route, operation in operations().items():
        assert "security" in operation, route
        named = {name for alternative in operation["security"] for name in alternative}
        assert named <= schemes
        assert (operation["security"] == []) is (route in PUBLIC), route


def test_every_operation_documents_its_errors() -> None:
    for route, operation in operations().items():
        assert operation["summary"] and operation["description"], route
        if route in {"GET /health", "GET /api/health"}:
            continue
        responses = operation["responses"]
        assert {"500", "503"} <= set(responses), route
        if route not in PUBLIC:
            assert "401" in responses, route
        for status, response in responses.items():
            if int(status) >= 400:
                kind = "application/json" if " /v1" in route else "application/problem+json"
                assert list(_resolved(response)["content"]) == [kind], (route, status)


def test_the_committed_document_is_current() -> None:
    from infra.local.apps import openapi_document

    assert openapi_document() == document()


def test_an_unlisted_route_does_not_start() -> None:
    from shared.web.app import create_app

    router = APIRouter()
    router.add_api_route("/api/new", lambda: None, operation_id="new_thing")
    with pytest.raises(RuntimeError, match="not in the access table"):
        create_app("new", router)
