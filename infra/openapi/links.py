"""Links: what was created can be read, changed and removed by the id in the answer.

Readers of the document and the stateful contract tests follow them. They come from the paths
alone: a collection's ``POST`` leads to every operation on ``collection/{id}`` and below it.
"""

from __future__ import annotations

import re
from typing import Any

from infra.openapi.schemas import resolve

_PARAMETER = re.compile(r"\{(\w+)\}")
# Answers that lead elsewhere: operation -> (link, target, how the target is called).
_BY_HAND: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "auth_login": [
        (
            "refresh", "auth_refresh",
            {"requestBody": {"refresh_token": "$response.body#/refresh_token"}},
        )
    ],
    "neural_route": [
        (
            "decision", "neural_get_decision",
            {"parameters": {"decision_id": "$response.body#/decision_id"}},
        ),
        (
            "judge", "learning_record_feedback",
            {"requestBody": {"decision_id": "$response.body#/decision_id", "score": 0.9}},
        ),
    ],
}  # fmt: skip


def link(document: dict[str, Any]) -> None:
    """Write the links of every answer that names something."""
    paths: dict[str, Any] = document["paths"]
    schemas = document["components"]["schemas"]
    known = {op["operationId"] for item in paths.values() for op in item.values()}
    for path, item in paths.items():
        for method, operation in item.items():
            links = {
                name: {"operationId": target, **call}
                for name, target, call in _BY_HAND.get(operation["operationId"], ())
                if target in known
            }
            answer = _success(operation)
            links |= _to_members(paths, path, method, answer, schemas)
            links |= _to_siblings(item, path, method)
            if links:
                answer.setdefault("links", {}).update(dict(sorted(links.items())))


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    status = min(status for status in operation["responses"] if status.startswith("2"))
    answer: dict[str, Any] = operation["responses"][status]
    return answer


def _to_members(
    paths: dict[str, Any], path: str, method: str, answer: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    """Link a collection's ``POST`` or ``GET`` to the operations on its members."""
    schema = resolve(
        answer.get("content", {}).get("application/json", {}).get("schema", {}), schemas
    )
    members = schema.get("properties", {})
    if _PARAMETER.search(path) or method not in {"post", "get"}:
        return {}
    if method == "post" and "id" in members:
        pointer = "$response.body#/id"
    elif method == "get" and "items" in members:
        item = resolve(members["items"].get("items", {}), schemas)
        if "id" not in item.get("properties", {}):
            return {}
        pointer = "$response.body#/items/0/id"
    else:
        return {}
    links = {}
    for other, operations in paths.items():
        parameters = _PARAMETER.findall(other)
        if not other.startswith(path + "/{") or len(parameters) != 1:
            continue
        for verb, operation in operations.items():
            called = {parameters[0]: pointer}
            if method == "post" and _is_conditional(operation) and "ETag" in answer["headers"]:
                called["header.if-match"] = "$response.header.etag"
            if method == "post" or verb == "get":
                links[operation["operationId"]] = {
                    "operationId": operation["operationId"], "parameters": called,
                }  # fmt: skip
    return links


def _to_siblings(item: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    """Link what reads one thing to what changes it, and what changes it back to its reader."""
    parameters = _PARAMETER.findall(path)
    if len(parameters) != 1:
        return {}
    links = {}
    for verb, operation in item.items():
        if verb == method or (method != "get" and verb != "get"):
            continue
        called = {parameters[0]: f"$request.path.{parameters[0]}"}
        if method == "get" and _is_conditional(operation):
            called["header.if-match"] = "$response.header.etag"
        links[operation["operationId"]] = {
            "operationId": operation["operationId"], "parameters": called,
        }  # fmt: skip
    return links


def _is_conditional(operation: dict[str, Any]) -> bool:
    return any(p["name"].lower() == "if-match" for p in operation.get("parameters", ()))
