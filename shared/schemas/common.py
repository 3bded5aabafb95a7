"""Shapes that every domain shares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

Role = Literal["viewer", "operator", "admin"]
Scope = Literal["route", "chat", "feedback", "read", "manage"]
LevelName = Literal["L1", "L2", "L3", "L4"]
# PostgreSQL's text holds every character but NUL.
STORABLE = r"^[^\x00]*$"
Slug = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
TaskType = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="What the caller says the request is; a short free slug.",
        examples=["code.review"],
    ),
]
ModelId = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$",
        description="Slug of a registered model.",
        examples=["openai/gpt-4o-mini"],
    ),
]
DecisionId = Annotated[
    str,
    Field(
        max_length=36,
        pattern=r"^dec_[0-9a-f]{32}$",
        examples=["dec_019ab3c4d5e67f8091a2b3c4d5e6f708"],
    ),
]
Labels = Annotated[
    dict[
        Annotated[str, Field(max_length=64, pattern=STORABLE)],
        Annotated[str, Field(max_length=256, pattern=STORABLE)],
    ],
    Field(
        max_length=32,
        description="Free labels: team, application, cost centre.",
        examples=[{"team": "search", "application": "checkout"}],
    ),
]


def strictly_json(value: Any) -> Any:
    """Return ``value`` unchanged if any JSON parser would take it.

    Members that are passed on unread need it: Python's parser also takes NaN, Infinity and lone
    surrogates, which neither a provider nor the database does.

    Raises
    ------
    ValueError
        If it holds one of those.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("text holds a lone surrogate") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    elif isinstance(value, dict):
        for name, member in value.items():
            strictly_json(name)
            strictly_json(member)
    elif isinstance(value, list):
        for member in value:
            strictly_json(member)
    return value


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def exactly_one_of(*names: str) -> dict[str, Any]:
    """Return the JSON schema of what a validator enforces: one of these members, not null."""
    return {"oneOf": [_given(name) for name in names]}


def at_most_one_of(*names: str) -> dict[str, Any]:
    """Return the JSON schema that refuses two of these members together."""
    pairs = [{"allOf": [_given(a), _given(b)]} for a, b in combinations(names, 2)]
    return {"not": pairs[0] if len(pairs) == 1 else {"anyOf": pairs}}


def needs(name: str, other: str) -> dict[str, Any]:
    """Return the JSON schema that takes ``name`` only together with ``other``."""
    return {"anyOf": [{"not": _given(name)}, _given(other)]}


def never_null(*names: str) -> Callable[[dict[str, Any]], None]:
    """Return a ``json_schema_extra``: these members may be left out, but not be null."""

    def drop_null(schema: dict[str, Any]) -> None:
        for name in names:
            member = schema["properties"][name]
            (kept,) = (s for s in member.pop("anyOf") if s.get("type") != "null")
            member.pop("default", None)
            member.update({**kept, **member})

    return drop_null


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


def _with_json_types(schema: Any) -> Any:
    """Return a core schema that tells true, 1 and "1" apart, as JSON and the document do.

    Pydantic's own strictness would also refuse 5.0, which JSON Schema calls an integer, and every
    instant that comes as text.
    """
    match schema:
        case {"type": "function-before", "function": {"function": f}} if f is _whole_number:
            return schema
        case {"type": "int"}:
            return core_schema.no_info_before_validator_function(_whole_number, schema)
        case {"type": "float" | "bool"}:
            return {**schema, "strict": True}
        case dict():
            return {name: _with_json_types(part) for name, part in schema.items()}
        case list():
            return [_with_json_types(part) for part in schema]
    return schema


class Request(BaseModel):
    """What callers send: an unknown member is an error that names it, never ignored; no text and
    no boolean passes for a number.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema: CoreSchema = _with_json_types(handler(source))
        return schema


class Response(BaseModel):
    """What we answer."""

    # What fails to validate must not end in a log: it may be a prompt.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class ProblemField(Response):
    pointer: str = Field(examples=["#/prompt"], description="Where: JSON pointer or ?parameter.")
    detail: str = Field(examples=["Field required"])


class Problem(Response):
    """RFC 9457 problem: every error under /api has this shape."""

    type: str = Field(examples=["https://davinci.dev/problems/invalid-input"])
    title: str = Field(examples=["Invalid input"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str = Field(examples=["The request does not fit the schema."])
    instance: str = Field(examples=["/api/neural/route"])
    errors: list[ProblemField]


class OpenAIErrorBody(Response):
    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["model"])
    code: str | None = Field(examples=["model_not_found"])


class OpenAIError(Response):
    """Error object of OpenAI's API: every error under /v1 has this shape."""

    error: OpenAIErrorBody


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _only_rfc_3339(value: Any) -> Any:
    """Refuse seconds since 1970 and dates alone, which pydantic takes for instants too."""
    if not isinstance(value, datetime) and not (
        isinstance(value, str) and _RFC_3339.fullmatch(value)
    ):
        raise ValueError("use RFC 3339 with an offset, such as 2026-11-22T14:00:00Z")
    return value


def _in_utc(instant: datetime) -> datetime:
    """Return the instant in UTC; of its years 0 and 10000 the calendar's first or last instant."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return first if instant.year == 1 else last


InstantParameter = Annotated[
    AwareDatetime,
    BeforeValidator(_only_rfc_3339),
    AfterValidator(_in_utc),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "maxLength": 40,
            "examples": ["2026-11-22T14:00:00Z"],
        }
    ),
]
"""An instant that a caller sends: RFC 3339 text with an offset, nothing else."""
