"""Shapes that every domain shares."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

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
    Field(pattern=r"^dec_[0-9a-f]{32}$", examples=["dec_019ab3c4d5e67f8091a2b3c4d5e6f708"]),
]
Labels = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=256)],
    ],
    Field(max_length=32, description="Free labels: team, application, cost centre."),
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


class Request(BaseModel):
    """What callers send: an unknown member is an error that names it, never ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


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


Instant = Annotated[datetime, Field(examples=["2026-11-22T14:00:00Z"])]
InstantParameter = AwareDatetime
