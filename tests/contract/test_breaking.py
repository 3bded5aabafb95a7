"""The gate finds what would break callers, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.lint import breaking

Document = dict[str, Any]
Edit = Callable[[Document], object]

THING = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 64},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 100},
        "ratio": {"type": "number"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "parts": {"type": "array", "maxItems": 5, "items": {"$ref": "#/components/schemas/Part"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
}
BASE: Document = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "0.1.0"},
    "components": {
        "schemas": {
            "In": copy.deepcopy(THING),
            "Out": copy.deepcopy(THING),
            "Part": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "inner": {"$ref": "#/components/schemas/Part"},
                },
            },
        }
    },
    "paths": {
        "/things": {
            "post": {
                "operationId": "things_create",
                "security": [{"person": ["viewer"]}, {"api_key": ["read"]}],
                "parameters": [
                    {
                        "in": "query", "name": "limit", "required": False,
                        "schema": {"type": "integer", "minimum": 1, "maximum": 100},
                    }
                ],
                "requestBody": {
                    "required": False,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/In"}}
                    },
                },
                "responses": {
                    "201": {
                        "description": "made",
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Out"}}
                        },
                    },
                    "404": {"description": "no"},
                },
            },
            "get": {"operationId": "things_list", "security": [], "responses": {"200": {}}},
        },
        "/old": {"get": {"operationId": "old", "security": [], "responses": {"200": {}}}},
    },
}  # fmt: skip


def post(document: Document) -> Document:
    found: Document = document["paths"]["/things"]["post"]
    return found


def sent(document: Document) -> Document:
    found: Document = document["components"]["schemas"]["In"]
    return found


def read(document: Document) -> Document:
    found: Document = document["components"]["schemas"]["Out"]
    return found


def member(schema: Document, name: str) -> Document:
    found: Document = schema["properties"][name]
    return found


NEW_PARAMETER = {"in": "query", "name": "x", "required": True, "schema": {"type": "string"}}
BREAKING: dict[str, tuple[Edit, str]] = {
    "path removed": (lambda d: d["paths"].pop("/old"), "path removed"),
    "operation removed": (lambda d: d["paths"]["/things"].pop("get"), "operation removed"),
    "operation renamed": (lambda d: post(d).update(operationId="new"), "renamed"),
    "security alternative removed": (lambda d: post(d)["security"].pop(), "no longer enough"),
    "role raised": (
        lambda d: post(d)["security"][0].update(person=["admin"]), "no longer enough",
    ),
    "public route closed": (
        lambda d: d["paths"]["/things"]["get"].update(security=[{"person": []}]),
        "credentials are needed",
    ),
    "parameter removed": (lambda d: post(d)["parameters"].pop(), "parameter removed"),
    "parameter required": (
        lambda d: post(d)["parameters"][0].update(required=True), "became required",
    ),
    "parameter narrowed": (
        lambda d: post(d)["parameters"][0]["schema"].update(maximum=50), "from 100 to 50",
    ),
    "new required parameter": (
        lambda d: post(d)["parameters"].append(NEW_PARAMETER), "new required parameter",
    ),
    "body required": (lambda d: post(d)["requestBody"].update(required=True), "body is required"),
    "body no longer taken": (lambda d: post(d).pop("requestBody"), "no longer taken"),
    "media type no longer taken": (
        lambda d: post(d)["requestBody"].update(content={"text/plain": {}}), "no longer taken",
    ),
    "member required": (lambda d: sent(d)["required"].append("kind"), "became required"),
    "member no longer taken": (lambda d: sent(d)["properties"].pop("size"), "no longer taken"),
    "type sent changed": (lambda d: member(sent(d), "size").update(type="string"), "type integer"),
    "number narrowed to integer": (
        lambda d: member(sent(d), "ratio").update(type="integer"), "type number",
    ),
    "value no longer taken": (lambda d: member(sent(d), "kind").update(enum=["a"]), "takes b"),
    "values listed where any was taken": (
        lambda d: member(sent(d), "name").update(enum=["a"]), "only",
    ),
    "text shortened": (lambda d: member(sent(d), "name").update(maxLength=8), "from 64 to 8"),
    "text lengthened": (lambda d: member(sent(d), "name").update(minLength=2), "from 1 to 2"),
    "pattern added": (lambda d: member(sent(d), "name").update(pattern="^a"), "pattern is"),
    "format added": (lambda d: member(sent(d), "name").update(format="email"), "format is"),
    "minimum raised": (lambda d: member(sent(d), "size").update(minimum=2), "from 1 to 2"),
    "list shortened": (lambda d: member(sent(d), "parts").update(maxItems=4), "from 5 to 4"),
    "null no longer taken": (
        lambda d: member(sent(d), "note").update(anyOf=[{"type": "string"}]), "null is no longer",
    ),
    "alternative no longer taken": (
        lambda d: member(sent(d), "either").update(anyOf=[{"type": "string"}, {"type": "number"}]),
        "alternative is no longer",
    ),
    "success no longer documented": (
        lambda d: post(d)["responses"].pop("201"), "no longer documented",
    ),
    "media type no longer answered": (
        lambda d: post(d)["responses"]["201"].update(content={}), "no longer answers",
    ),
    "header removed": (lambda d: post(d)["responses"]["201"].pop("headers"), "header removed"),
    "member no longer answered": (lambda d: read(d)["properties"].pop("size"), "member removed"),
    "member may be missing": (lambda d: read(d).update(required=[]), "may be missing"),
    "type read changed": (lambda d: member(read(d), "name").update(type="number"), "type string"),
    "answer may be null": (
        lambda d: member(read(d), "size").update(
            anyOf=[{"type": "integer"}, {"type": "null"}], type=None
        ),
        "may be null",
    ),
    "answer may be anything": (lambda d: member(read(d), "kind").pop("enum"), "any value"),
    "answer has a new form": (
        lambda d: member(read(d), "either")["anyOf"].append({"type": "array"}), "new form",
    ),
    "nested member removed": (
        lambda d: d["components"]["schemas"]["Part"]["properties"].pop("id"), "member removed",
    ),
}  # fmt: skip
HARMLESS: dict[str, Edit] = {
    "nothing": lambda d: None,
    "new path": lambda d: d["paths"].update({"/new": {}}),
    "new optional member": lambda d: sent(d)["properties"].update(more={"type": "string"}),
    "new member answered": lambda d: read(d)["properties"].update(more={"type": "string"}),
    "more taken": lambda d: member(sent(d), "kind").update(enum=["a", "b", "c"]),
    "longer text taken": lambda d: member(sent(d), "name").update(maxLength=128),
    "shorter text answered": lambda d: member(read(d), "name").update(maxLength=8),
    "null taken": lambda d: sent(d)["properties"].update(
        name={"anyOf": [member(sent(d), "name"), {"type": "null"}]}
    ),
    "always answered": lambda d: read(d)["required"].append("kind"),
    "integer where a number was answered": lambda d: member(read(d), "ratio").update(
        type="integer"
    ),
    "another way to authenticate": lambda d: post(d)["security"].append({"new": []}),
    "opened to everybody": lambda d: post(d).update(security=[]),
    "new optional parameter": lambda d: post(d)["parameters"].append(
        {**NEW_PARAMETER, "required": False}
    ),
}


def changed(edit: Edit) -> Document:
    document = copy.deepcopy(BASE)
    edit(document)
    return document


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_found_with_its_place_and_remedy(name: str) -> None:
    edit, said = BREAKING[name]
    found = [c for c in breaking.changes(BASE, changed(edit)) if c.is_breaking]
    assert any(said in change.what for change in found), found
    assert all(change.pointer.startswith("#/paths/") and change.remedy for change in found)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_passes(name: str) -> None:
    assert breaking.changes(BASE, changed(HARMLESS[name])) == []


def test_a_new_value_in_answers_and_a_removed_error_are_only_noticed() -> None:
    def edit(document: Document) -> None:
        member(read(document), "kind")["enum"].append("c")
        post(document)["responses"].pop("404")

    found = breaking.changes(BASE, changed(edit))
    assert len(found) == 2 and not any(change.is_breaking for change in found)


@pytest.mark.parametrize(
    ("before", "now", "is_announced"),
    [
        ("0.1.0", "0.1.1", False), ("0.1.0", "0.2.0", True), ("0.1.0", "1.0.0", True),
        ("1.4.0", "1.5.0", False), ("1.4.0", "2.0.0", True), ("1.0.0", "0.9.0", False),
    ],
)  # fmt: skip
def test_only_the_version_can_announce_it(before: str, now: str, is_announced: bool) -> None:
    old, new = ({"info": {"version": version}} for version in (before, now))
    assert breaking.is_announced(old, new) is is_announced


def test_the_command_fails_with_the_place_and_passes_when_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(BASE))
    document = changed(BREAKING["member required"][0])
    arguments = ["--against", str(old), "--document", str(new)]
    new.write_text(json.dumps(document))
    assert breaking.main(arguments) == 1
    said = capsys.readouterr()
    assert "#/paths/~1things/post/requestBody/application/json/kind: became required" in said.out
    assert "CHANGELOG.md" in said.err
    document["info"]["version"] = "0.2.0"
    new.write_text(json.dumps(document))
    assert breaking.main(arguments) == 0
    new.write_text(json.dumps(BASE))
    assert breaking.main(arguments) == 0


def test_without_an_earlier_document_it_says_so_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert breaking.main(["--against", "no-such-revision"]) == 0
    assert "not checked" in capsys.readouterr().out
