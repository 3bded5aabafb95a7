"""What the access table, the parameters and the answers say about one operation."""

from __future__ import annotations

from typing import Any

from infra.openapi import headers
from infra.openapi.errors import Errors
from infra.openapi.examples import Examples, of_media
from infra.openapi.parameters import DESCRIPTIONS, PARAMETER_EXAMPLES, PARAMETER_SCHEMAS
from infra.openapi.schemas import ANSWER_BYTES, bound, tidy, without_null
from infra.openapi.values import ID_OF_PARAMETER, ID_PATTERN
from shared.auth.access import ACCESS, Access

_DESCRIPTIONS = {200: "Done.", 201: "Created.", 202: "Accepted.", 204: "Done; nothing to say."}


def is_limited(access: Access) -> bool:
    """Return whether requests are counted: everybody known, and where a route has its own limit."""
    return access.per_minute is not None or not (access.public or access.scrape)


def describe_access(operation: dict[str, Any]) -> None:
    """Write who may call the operation: OpenAPI's security and, exactly, ``x-davinci-access``."""
    access = ACCESS[operation["operationId"]]
    operation["security"] = _security(access)
    operation["x-davinci-access"] = {
        "role": access.role,
        "scope": "any" if access.any_key else access.scope,
        "public": access.public,
    }


def describe_parameters(operation: dict[str, Any], examples: Examples) -> None:
    """Give every parameter a description, limits and an example."""
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        schema = without_null(parameter["schema"])
        if name.lower() in PARAMETER_SCHEMAS:
            schema = dict(PARAMETER_SCHEMAS[name.lower()])
        parameter["schema"] = schema
        tidy(schema)
        prefix = ID_OF_PARAMETER.get(name)
        if parameter["in"] == "path" and prefix is not None:
            schema["pattern"] = ID_PATTERN.format(prefix)
            schema["maxLength"] = 36
        else:
            bound(schema, headers.LINE_BYTES)
        parameter.setdefault("description", _description(name))
        described = schema.pop("description", None)
        if described:
            parameter["description"] = described
        if "example" not in parameter and "examples" not in parameter:
            found = PARAMETER_EXAMPLES.get(name.lower(), schema.get("examples", [None])[0])
            parameter["example"] = found if found is not None else examples.of(schema, name)


def describe_body(operation: dict[str, Any], examples: Examples) -> None:
    """Give the body an example."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" not in content and "examples" not in content:
            content["example"] = examples.of(content["schema"], sent=True)


def describe_answers(
    operation: dict[str, Any], path: str, examples: Examples, errors: Errors, *,
    tagged: bool,
) -> None:  # fmt: skip
    """Complete the answers: implied statuses, headers, examples."""
    operation_id = operation["operationId"]
    access = ACCESS[operation_id]
    limited = is_limited(access)
    answers: dict[str, Any] = operation["responses"]
    header_names = {
        p["name"].lower() for p in operation.get("parameters", ()) if p["in"] == "header"
    }
    if not limited:
        answers.pop("429", None)
    domain = operation_id.partition("_")[0]
    for status in sorted({*map(int, answers), *_implied(operation, access, limited)}):
        given = answers.get(str(status), {})
        if status >= 400 and _is_error_document(given):
            answers[str(status)] = errors.answer(
                status, path=path, domain=domain, limited=limited, header_names=header_names
            )
            continue
        own = headers.of_answer(
            status, limited=limited, tagged=tagged, idempotent="idempotency-key" in header_names
        )
        _describe_own(given, operation_id, status, own, examples)
    operation["responses"] = dict(sorted(answers.items()))


def _describe_own(
    answer: dict[str, Any],
    operation_id: str,
    status: int,
    own_headers: dict[str, dict[str, str]],
    examples: Examples,
) -> None:
    """Complete an answer of the route's own: not an error document."""
    if answer.get("description", "Successful Response") == "Successful Response":
        answer["description"] = _DESCRIPTIONS[status]
    answer.setdefault("headers", {}).update(own_headers)
    for header in answer["headers"].values():
        bound(header.get("schema", {}), headers.LINE_BYTES)
    for media_type, content in answer.get("content", {}).items():
        # A stream is read event by event, JSON of others is theirs: neither has a schema.
        is_text = media_type.startswith("text/") and media_type != "text/event-stream"
        schema = content.setdefault("schema", {"type": "string"} if is_text else {})
        if schema.get("type") == "string":
            bound(schema, ANSWER_BYTES)
        if "example" not in content and "examples" not in content:
            is_ours = "$ref" in schema
            content["example"] = (
                examples.of(schema) if is_ours else of_media(operation_id, media_type)
            )


def _implied(operation: dict[str, Any], access: Access, limited: bool) -> set[int]:
    """Return the statuses that follow from what stands before every route."""
    implied = {406, 431, 500}
    if not access.public:
        implied.add(401)
    if not access.public and not access.scrape:
        implied.add(403)
    if limited:
        implied.add(429)
    if "requestBody" in operation:
        implied |= {400, 413, 415, 422}
    parameters = operation.get("parameters", ())
    if parameters:
        implied.add(400 if operation["tags"] == ["gateway"] else 422)  # as OpenAI answers
    if any(parameter["in"] in {"path", "query"} for parameter in parameters):
        implied.add(414)
    if _takes(operation, "if-match"):
        implied |= {412, 428}
    if _takes(operation, "idempotency-key"):
        implied |= {400, 409, 422}
    return implied


def _takes(operation: dict[str, Any], header: str) -> bool:
    return any(
        parameter["in"] == "header" and parameter["name"].lower().startswith(header)
        for parameter in operation.get("parameters", ())
    )


def _is_error_document(given: dict[str, Any]) -> bool:
    """Return whether a status answers with a problem and not with a document of the route's own."""
    references = {
        content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        for content in given.get("content", {}).values()
    }
    return references <= {"", "Problem", "OpenAIError", "HTTPValidationError"}


def _security(access: Access) -> list[dict[str, list[str]]]:
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


def _description(name: str) -> str:
    if name in ID_OF_PARAMETER or name.endswith("_id"):
        return f"The {name.removesuffix('_id').replace('_', ' ')}'s id."
    return DESCRIPTIONS.get(name.lower(), f"{name.replace('_', ' ').capitalize()}.")
