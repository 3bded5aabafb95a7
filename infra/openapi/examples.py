"""An example for every body, answer and parameter: the schema's own, else by name and unit."""

from __future__ import annotations

import re
from typing import Any

from infra.openapi.schemas import Schema, resolve, subschemas
from infra.openapi.values import BY_MEDIA, BY_NAME, BY_UNIT, INSTANT

_SIMPLE = re.compile(
    r"\^(?P<prefix>[\w-]*)\[(?P<first>\w)[^\]]*\](\{(?P<length>\d+)(,\d*)?\}|[*+])\$"
)


class NoExampleError(ValueError):
    """Nothing says what a value looks like; the message says where to say it."""


class Examples:
    """Makes example values for the schemas of one document."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self._components = components

    def of(self, schema: Schema, name: str = "", *, sent: bool = False) -> Any:
        """Return an example of ``schema``; what is ``sent`` leaves out what may be left out.

        Raises
        ------
        NoExampleError
            If neither the schema nor the tables of ``values`` say what it looks like.
        """
        given = _given(schema)
        if given is not None:
            return given[0]
        schema = resolve(schema, self._components)
        given = _given(schema)
        if given is not None:
            return given[0]
        if name in BY_NAME and self._fits(BY_NAME[name], schema):
            return BY_NAME[name]
        if "allOf" in schema and len(schema["allOf"]) == 1 and "properties" not in schema:
            return self.of(schema["allOf"][0], name, sent=sent)
        for union in ("anyOf", "oneOf"):
            if union in schema and "properties" not in schema:
                first = next(s for s in schema[union] if s.get("type") != "null")
                return self.of(first, name, sent=sent)
        return self._by_type(schema, name, sent=sent)

    def _by_type(self, schema: Schema, name: str, *, sent: bool) -> Any:
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, sent=sent)
        if kind == "array":
            members = schema.get("prefixItems") or [schema["items"]]
            return [self.of(inner, name.removesuffix("s"), sent=sent) for inner in members]
        simple = {
            "string": _text, "integer": _number, "number": _number,
            "boolean": lambda *_: True, "null": lambda *_: None,
        }  # fmt: skip
        if kind not in simple:
            raise NoExampleError(
                f"no example for {name or 'a value'!r}: give the field or the route's response an "
                "example, or name it in infra/openapi/values.py"
            )
        return simple[kind](schema, name)

    def _object(self, schema: Schema, *, sent: bool) -> dict[str, Any]:
        made = {}
        required = set(schema.get("required", ()))
        for name, inner in schema.get("properties", {}).items():
            if sent and name not in required and not _illustrated(inner):
                continue
            made[name] = self.of(inner, name, sent=sent)
        if not made and isinstance(schema.get("additionalProperties"), dict):
            keys = resolve(schema.get("propertyNames", {}), self._components)
            names = keys.get("enum") or [self.of(keys, "key") if keys.get("examples") else "key"]
            made = {n: self.of(schema["additionalProperties"], n, sent=sent) for n in names}
        return made

    def _fits(self, value: Any, schema: Schema) -> bool:
        """Return whether a named value is of the schema's kind; its limits are a test's matter."""
        schema = resolve(schema, self._components)
        choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if choices:
            return any(self._fits(value, choice) for choice in choices)
        if "enum" in schema or "const" in schema:
            return value in schema.get("enum", [schema.get("const")])
        kinds: dict[str, type | tuple[type, ...]] = {
            "string": str, "integer": int, "number": (int, float), "boolean": bool,
            "array": list, "object": dict, "null": type(None),
        }  # fmt: skip
        kind = schema.get("type")
        return kind in kinds and isinstance(value, kinds[kind]) and "properties" not in schema


def of_media(operation_id: str, media_type: str) -> Any:
    """Return the example of an answer that has no schema.

    Raises
    ------
    NoExampleError
        If there is none yet.
    """
    try:
        return BY_MEDIA[operation_id, media_type]
    except KeyError:
        raise NoExampleError(
            f"{operation_id} answers {media_type} without a schema: give it an 'example' in the "
            "route's responses, or in infra/openapi/values.py"
        ) from None


def _given(schema: Schema) -> list[Any] | None:
    """Return the examples that the schema itself gives."""
    if schema.get("examples"):
        return list(schema["examples"])
    for key in ("example", "const"):
        if key in schema:
            return [schema[key]]
    if "enum" in schema:
        return [schema["enum"][0]]
    default = schema.get("default")
    return [default] if default not in (None, "", [], {}) else None


def _illustrated(schema: Schema) -> bool:
    return any(inner.get("examples") for inner in subschemas(schema))


def _text(schema: Schema, name: str) -> str:
    if schema.get("format") == "date-time":
        return INSTANT
    text = "text".ljust(int(schema.get("minLength", 0)), "-")[: schema.get("maxLength")]
    pattern = schema.get("pattern", "")
    return text if re.search(pattern, text) else _by_pattern(pattern, name)


def _by_pattern(pattern: str, name: str) -> str:
    """Return an example of the commonest pattern: a prefix, then so many characters of a class."""
    found = _SIMPLE.fullmatch(pattern)
    if found is None:
        raise NoExampleError(
            f"{name!r} has the pattern {pattern} and no example: give the field examples=[...]"
        )
    return found["prefix"] + found["first"] * int(found["length"] or 1)


def _number(schema: Schema, name: str) -> float:
    value = next((v for unit, v in BY_UNIT.items() if name.endswith(unit)), 1)
    if isinstance(value, str):
        value = 1
    value = max(value, schema.get("minimum", value))
    value = min(value, schema.get("maximum", value))
    return int(value) if schema["type"] == "integer" else value
