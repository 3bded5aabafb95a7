"""Walk, tidy and bound the JSON schemas that pydantic wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# The largest answer of a Lambda function, 6 MiB, bounds every text and list in it.
ANSWER_BYTES = 6 * 2**20
# The largest body that an application takes (Settings.max_body_bytes) bounds what has no own limit.
BODY_BYTES = 2**20
# What every JSON reader represents exactly (RFC 8259, section 6).
EXACT = 2**53 - 1
INSTANT_LENGTH = 40
_COMPONENT = "#/components/schemas/"


def subschemas(schema: Schema) -> Iterator[Schema]:
    """Yield ``schema`` and every schema written inside it.

    References are not followed, and what ``not`` refuses describes no value.
    """
    yield schema
    for key in ("properties", "patternProperties", "$defs"):
        for inner in schema.get(key, {}).values():
            yield from subschemas(inner)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, ()):
            yield from subschemas(inner)
    for key in ("items", "additionalProperties", "propertyNames", "contains"):
        if isinstance(schema.get(key), dict):
            yield from subschemas(schema[key])


def name_of(schema: Schema) -> str | None:
    """Return the component's name that ``schema`` refers to."""
    reference = schema.get("$ref", "")
    return reference.removeprefix(_COMPONENT) if reference.startswith(_COMPONENT) else None


def resolve(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return what ``schema`` refers to, or itself."""
    name = name_of(schema)
    return components[name] if name is not None else schema


def reachable(roots: list[Schema], components: dict[str, Schema]) -> set[str]:
    """Return the names of the components that ``roots`` refer to, directly or not."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        for schema in subschemas(waiting.pop()):
            name = name_of(schema)
            if name is not None and name not in found:
                found.add(name)
                waiting.append(components[name])
    return found


def tidy(schema: Schema) -> None:
    """Drop the titles that only repeat names, and say how large every integer can be read."""
    for inner in subschemas(schema):
        inner.pop("title", None)
        if "patternProperties" in inner and "additionalProperties" not in inner:
            # A map whose keys have a pattern; as pydantic writes it, other keys would be free.
            ((pattern, values),) = inner.pop("patternProperties").items()
            inner["additionalProperties"] = values
            inner.setdefault("propertyNames", {})["pattern"] = pattern
        if inner.get("type") == "integer":
            high: Any = inner.get("maximum", inner.get("exclusiveMaximum", EXACT))
            low: Any = inner.get("minimum", inner.get("exclusiveMinimum", -EXACT))
            fits = low >= -(2**31) and high < 2**31
            inner.setdefault("format", "int32" if fits else "int64")


def without_null(schema: Schema) -> Schema:
    """Return a parameter's schema without null, which neither a query nor a header can hold."""
    kept = [inner for inner in schema.get("anyOf", ()) if inner.get("type") != "null"]
    if len(kept) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**kept[0], **rest}


def bound(schema: Schema, largest: int) -> None:
    """Give what has no limit of its own the one that ``largest`` bytes imply."""
    for inner in subschemas(schema):
        kind = inner.get("type")
        if kind == "string" and not {"enum", "const", "maxLength"} & set(inner):
            is_instant = inner.get("format") == "date-time"
            inner["maxLength"] = INSTANT_LENGTH if is_instant else largest
        elif kind == "array":
            if "prefixItems" in inner:  # a pair of numbers, say; readers of 3.0 want `items` too
                inner.setdefault("maxItems", len(inner["prefixItems"]))
                inner.setdefault("items", inner["prefixItems"][0])
            inner.setdefault("maxItems", largest // 2)
        elif kind == "integer":
            if not {"minimum", "exclusiveMinimum"} & set(inner):
                inner["minimum"] = -EXACT
            if not {"maximum", "exclusiveMaximum"} & set(inner):
                inner["maximum"] = EXACT
