"""From FastAPI's document to the published one: what no route should have to say by hand.

Access, errors, headers, limits, examples and links follow from the access table, the exception
classes, the schemas and the paths, so a new route is documented wholly as soon as it exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.openapi import headers, links
from infra.openapi.errors import Errors
from infra.openapi.examples import Examples
from infra.openapi.operations import (
    describe_access,
    describe_answers,
    describe_body,
    describe_parameters,
)
from infra.openapi.schemas import ANSWER_BYTES, BODY_BYTES, Schema, bound, reachable, tidy
from shared.schemas.common import OpenAIError, Problem

_FUNCTIONS = Path(__file__).parents[2] / "functions"
_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY_SCHEMES = {
    "person": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The access token of `POST /api/auth/login`: Ed25519, verified as RFC8725 "
        "asks, valid for 15 minutes. The value names the least role.",
    },
    "api_key": {
        "type": "http", "scheme": "bearer", "bearerFormat": "dv_<env>_<key>",
        "description": "An API key as bearer token. The value names the scope that it needs.",
    },
    "api_key_header": {
        "type": "apiKey", "in": "header", "name": "x-api-key",
        "description": "The same key in its own header.",
    },
    "scrape": {
        "type": "http", "scheme": "bearer",
        "description": "The scrape token (DAVINCI_METRICS_TOKEN); on loopback none is needed.",
    },
}  # fmt: skip


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Complete FastAPI's document in place and return it.

    Raises
    ------
    NoExampleError
        If nothing says what a value looks like; the message says where to say it.
    """
    document["info"]["license"] = _LICENSE
    document["info"]["contact"] = {"name": "Da Vinci", "url": "https://davinci.dev"}
    document["servers"] = [
        {
            "url": "/",
            "description": "The deployment that serves this document, local or production.",
            "x-internal": False,
        }
    ]
    components = document["components"]
    components["securitySchemes"] = _SECURITY_SCHEMES
    components["headers"] = dict(headers.COMPONENTS)
    schemas = _own_schemas(components["schemas"])
    components["schemas"] = schemas
    for schema in schemas.values():
        tidy(schema)
    _bound(document, schemas)
    examples, errors = Examples(schemas), Errors(components)
    for path, item in document["paths"].items():
        conditional = any(
            parameter["name"].lower() == "if-match"
            for other, operations in document["paths"].items()
            if other == path or other.startswith(path + "/{")
            for operation in operations.values()
            for parameter in operation.get("parameters", ())
        )
        for method, operation in item.items():
            describe_access(operation)
            describe_parameters(operation, examples)
            describe_body(operation, examples)
            member = "{" in path or method == "post"
            describe_answers(operation, path, examples, errors, tagged=conditional and member)
    links.link(document)
    _drop_unused(document, schemas)
    document["tags"] = _tags(document)
    return document


def _own_schemas(schemas: dict[str, Schema]) -> dict[str, Schema]:
    for error in (Problem, OpenAIError):  # routes refer to them by name
        schema = error.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**schema.pop("$defs", {}), error.__name__: schema}
    return schemas


def _bound(document: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """Limit what has no limit of its own by the largest body and the largest answer."""
    bodies = [
        content["schema"]
        for item in document["paths"].values()
        for operation in item.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    sent = reachable(bodies, schemas)
    for name, schema in schemas.items():
        bound(schema, BODY_BYTES if name in sent else ANSWER_BYTES)


def _drop_unused(document: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """Drop what FastAPI adds for its own 422, which nobody ever sees, and headers nobody sends."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    written = json.dumps(document)
    components = document["components"]
    components["headers"] = {
        name: header
        for name, header in components["headers"].items()
        if f'"#/components/headers/{name}"' in written
    }


def _tags(document: dict[str, Any]) -> list[dict[str, str]]:
    names = sorted(
        {tag for item in document["paths"].values() for op in item.values() for tag in op["tags"]}
    )
    return [{"name": name, "description": _owns(name)} for name in names]


def _owns(domain: str) -> str:
    """Return what a domain owns, from its README."""
    text = (_FUNCTIONS / domain / "README.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("- **Owns**: "):
            return line.removeprefix("- **Owns**: ")
    raise ValueError(f"functions/{domain}/README.md has no line '- **Owns**: ...'")
