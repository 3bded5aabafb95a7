"""What callers send is closed, what they are answered is declared (OWASP API3:2023)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from fastapi import Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from tests.architecture.test_routes import routers

OPENAPI = Path(__file__).parents[2] / "functions" / "system" / "openapi.json"


def routes() -> Iterator[APIRoute]:
    for router in routers().values():
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def _bodies(dependant: Dependant) -> Iterator[Any]:
    for field in dependant.body_params:
        yield field.field_info.annotation
    for inner in dependant.dependencies:
        yield from _bodies(inner)


def _models(kind: Any, seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Return every pydantic model inside a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        for field in kind.model_fields.values():
            _models(field.annotation, seen)
    for inner in get_args(kind):
        _models(inner, seen)
    return seen


def test_no_request_takes_members_that_it_does_not_know() -> None:
    found: set[type[BaseModel]] = set()
    for route in routes():
        if route.path.startswith("/v1/"):
            continue  # OpenAI's API: what we do not know is the provider's to judge
        for body in _bodies(route.dependant):
            _models(body, found)
    assert len(found) >= 10, "the walk finds the request schemas"
    # Derive from shared.schemas.common.Request, which forbids unknown members.
    assert [m.__name__ for m in found if m.model_config.get("extra") != "forbid"] == []


def test_no_request_repeats_its_input_in_errors() -> None:
    found: set[type[BaseModel]] = set()
    for route in routes():
        for body in _bodies(route.dependant):
            _models(body, found)
    # What fails to validate may be a prompt or a password: hide_input_in_errors=True.
    assert [m.__name__ for m in found if not m.model_config.get("hide_input_in_errors")] == []


def _is_written_by_hand(route: APIRoute) -> bool:
    """Return whether the route makes its answer itself: text, a stream, another's JSON."""
    kind = route.response_model
    return kind is None or kind is Response


def test_every_answer_is_a_declared_schema_and_the_document_is_its_snapshot() -> None:
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))
    answers: dict[str, dict[str, Any]] = {
        operation["operationId"]: operation["responses"]
        for item in document["paths"].values()
        for operation in item.values()
    }
    by_hand = set()
    for route in routes():
        if _is_written_by_hand(route):
            by_hand.add(str(route.operation_id))
            continue
        model = route.response_model
        assert isinstance(model, type) and issubclass(model, BaseModel), route.operation_id
        status = str(route.status_code or 200)
        schema = answers[str(route.operation_id)][status]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        # FastAPI's answer holds the declared members and no other: whatever a row has besides.
        published = document["components"]["schemas"][name]
        aliases = {f.serialization_alias or f.alias or n for n, f in model.model_fields.items()}
        assert set(published["properties"]) == aliases, route.operation_id
    json_by_hand = {
        name
        for name in by_hand
        if any("application/json" in a.get("content", {}) for s, a in answers[name].items()
               if s.startswith("2"))
    }  # fmt: skip
    # Others' JSON that is passed on; everything of ours is a schema.
    assert json_by_hand <= {"system_openapi", "gateway_chat_completions", "gateway_embeddings"}
