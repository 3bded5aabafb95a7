"""The document says everything that a caller needs, and nothing in it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from infra.openapi.operations import is_limited
from infra.openapi.parameters import PARAMETER_SCHEMAS
from infra.openapi.schemas import Schema, reachable, subschemas
from shared.auth.access import ACCESS

_HERE = "urn:davinci"


@cache
def document() -> dict[str, Any]:
    from infra.local.apps import openapi_document

    return openapi_document()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """Return what is wrong with ``value`` by a schema of the document."""
    validator = Draft202012Validator(_absolute(schema), registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _registry() -> Registry[Any]:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    empty: Registry[Any] = Registry()
    filled: Registry[Any] = empty.with_resource(_HERE, resource)
    return filled


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _HERE + inner if key == "$ref" and isinstance(inner, str) else _absolute(inner)
            for key, inner in value.items()
        }
    return [_absolute(inner) for inner in value] if isinstance(value, list) else value


def test_the_document_is_valid_openapi() -> None:
    assert document()["openapi"].startswith("3.1")
    validate(document())


def test_every_body_has_an_example_that_fits() -> None:
    for route, operation in operations():
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            assert "example" in content, f"{route}: give the {kind} body an example"
            assert faults(content["schema"], content["example"]) == [], route


def test_every_answer_has_an_example_that_fits() -> None:
    for route, operation in operations():
        for status, answer in operation["responses"].items():
            content = resolve(answer).get("content", {})
            assert content or status in {"204", "304"}, f"{route} {status} says nothing of its body"
            for kind, said in content.items():
                values = [resolve(e)["value"] for e in said.get("examples", {}).values()]
                values += [said["example"]] if "example" in said else []
                assert values, f"{route} {status} {kind} has no example"
                for value in values:
                    assert faults(said.get("schema", {}), value) == [], (route, status)


def test_a_stream_of_events_is_not_said_to_be_one_value() -> None:
    """Readers of the document hold a schema there against each event."""
    streams = [
        (name, answer["content"]["text/event-stream"].get("schema", {}))
        for name, operation in operations()
        for answer in map(resolve, operation["responses"].values())
        if "text/event-stream" in answer.get("content", {})
    ]
    assert len(streams) >= 2
    assert [name for name, schema in streams if schema] == []


def test_every_error_shows_each_of_its_problem_types() -> None:
    for route, operation in operations():
        for status, answer in operation["responses"].items():
            said = resolve(answer)
            if int(status) < 400 or "/schemas/Health" in str(said["content"]):
                continue
            (content,) = said["content"].values()
            assert content["examples"], (route, status)
            for code, example in content["examples"].items():
                value = resolve(example)["value"]
                if " /v1" in route:
                    assert value["error"]["code"] and value["error"]["message"], (route, code)
                else:
                    assert value["status"] == int(status), (route, code)
                    assert re.split("[/#]", value["type"])[-1] == code, (route, code)


def test_every_parameter_has_a_description_and_an_example_that_fits() -> None:
    for route, operation in operations():
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], (route, parameter["name"])
            assert faults(parameter["schema"], parameter["example"]) == [], (
                f"{route}: the example of {parameter['name']} does not fit: see "
                "infra/openapi/operations.py, PARAMETER_EXAMPLES"
            )


def test_every_operation_says_who_may_call_it() -> None:
    for route, operation in operations():
        access = ACCESS[operation["operationId"]]
        said = operation["x-davinci-access"]
        assert said["role"] == access.role and said["public"] is access.public, route
        assert said["scope"] == ("any" if access.any_key else access.scope), route
        assert (operation["security"] == []) is access.public, route


def test_every_tag_and_operation_is_described() -> None:
    described = {tag["name"] for tag in document()["tags"] if tag["description"]}
    for route, operation in operations():
        domain, verb = operation["operationId"].split("_", 1)
        assert re.fullmatch(r"[a-z]+", domain) and re.fullmatch(r"[a-z][a-z_]*", verb), route
        assert operation["tags"] == [domain] and domain in described, route


def test_what_takes_input_documents_how_it_is_refused() -> None:
    for route, operation in operations():
        statuses = set(operation["responses"])
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= statuses, route
        if operation.get("parameters"):
            assert "422" in statuses, route


def test_every_limited_operation_documents_its_limits() -> None:
    for route, operation in operations():
        answers = operation["responses"]
        if not is_limited(ACCESS[operation["operationId"]]):
            assert "429" not in answers, route
            continue
        assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(
            resolve(answers["429"])["headers"]
        ), route
        for answer in answers.values():
            assert "RateLimit" in resolve(answer)["headers"], route


def _header_names(operation: dict[str, Any]) -> set[str]:
    return {p["name"].lower() for p in operation.get("parameters", ()) if p["in"] == "header"}


def test_conditional_changes_document_their_headers() -> None:
    conditional = [(r, o) for r, o in operations() if "if-match" in _header_names(o)]
    assert conditional
    for route, operation in conditional:
        assert {"412", "428"} <= set(operation["responses"]), route
        path = route.partition(" ")[2]
        reader = document()["paths"][path].get("get", operation)
        assert "ETag" in reader["responses"]["200"]["headers"], route


def test_idempotent_operations_document_their_headers() -> None:
    for route, operation in operations():
        if "idempotency-key" not in _header_names(operation):
            continue
        assert {"409", "422"} <= set(operation["responses"]), route
        answers = [a for s, a in operation["responses"].items() if s.startswith("2")]
        assert all("Idempotency-Replayed" in answer["headers"] for answer in answers), route


def unbounded(schema: Schema) -> list[str]:
    """Return what a request's schema leaves without a limit: kinds, for a message."""
    found = []
    for inner in subschemas(schema):
        kind = inner.get("type")
        instant = inner.get("format") == "date-time"
        if kind == "string" and not instant and not {"enum", "const", "maxLength"} & set(inner):
            found.append("a string without max_length")
        elif kind == "array" and not {"maxItems", "prefixItems"} & set(inner):
            found.append("a list without max_length")
        elif kind == "integer" and not (
            {"minimum", "exclusiveMinimum"} & set(inner)
            and {"maximum", "exclusiveMaximum"} & set(inner)
        ):
            found.append("an integer without ge and le")
    return found


def test_callers_are_told_every_limit_of_what_they_send() -> None:
    from infra.local.apps import DOMAINS

    routes = [route for router in DOMAINS for route in router.routes]
    raw = get_openapi(title="raw", version="0", routes=routes)
    schemas = raw["components"]["schemas"]
    missing = []
    for path, item in raw["paths"].items():
        if path.startswith("/v1/"):
            continue  # passed on to the provider; the body's size is the limit
        for method, operation in item.items():
            bodies = [
                content["schema"]
                for content in operation.get("requestBody", {}).get("content", {}).values()
            ]
            parameters = [
                parameter["schema"]
                for parameter in operation.get("parameters", ())
                # An id of any other form is not found; some headers are checked by hand.
                if parameter["in"] != "path" and parameter["name"].lower() not in PARAMETER_SCHEMAS
            ]
            inner = [schemas[name] for name in sorted(reachable(bodies, schemas))]
            missing += [
                f"{method.upper()} {path}: {fault} in {schema.get('title', '?')}"
                for schema in [*inner, *parameters]
                for fault in unbounded(schema)
                # A request line and its headers hold 10,240 bytes: every text in them has a limit.
                if schema in inner or "string" not in fault
            ]
    assert missing == [], "give each its Field(max_length=...) or Field(ge=..., le=...)"


def test_whatever_is_created_can_be_followed_to_its_reader() -> None:
    for route, operation in operations():
        method, _, path = route.partition(" ")
        created = operation["responses"].get("201")
        members = [p for p in document()["paths"] if re.fullmatch(re.escape(path) + r"/\{\w+\}", p)]
        if method != "POST" or created is None or not members:
            continue
        targets = {link["operationId"] for link in created.get("links", {}).values()}
        for member in members:
            for reached in document()["paths"][member].values():
                assert reached["operationId"] in targets, (route, reached["operationId"])


def test_links_lead_to_operations_and_parameters_that_exist() -> None:
    by_id = {operation["operationId"]: operation for _, operation in operations()}
    for route, operation in operations():
        for answer in operation["responses"].values():
            for link in resolve(answer).get("links", {}).values():
                target = by_id[link["operationId"]]
                names = {p["name"] for p in target.get("parameters", ())}
                for parameter in link.get("parameters", {}):
                    assert parameter.removeprefix("header.") in names, (route, parameter)


@pytest.mark.parametrize("name", ["Problem", "OpenAIError"])
def test_the_error_schemas_are_published(name: str) -> None:
    assert document()["components"]["schemas"][name]["properties"]
