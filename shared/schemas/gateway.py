"""OpenAI's chat completions as far as the gateway itself must understand them.

Whatever else a client sends is passed on to the provider unread.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.schemas.common import Response, strictly_json


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str = Field(max_length=32)
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """A chat completion request; `model` may be `auto`, `auto:L3`, `policy:name` or a model id."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: str = Field(min_length=1, max_length=160, examples=["auto"])
    messages: list[ChatMessage] = Field(min_length=1, max_length=2_000)
    metadata: dict[str, str] | None = Field(
        None, description="`davinci_task`, `davinci_level`, `davinci_session` steer the routing."
    )
    stream: Literal[False] | None = Field(
        None, description="Streaming is not offered yet; leave it out or send false."
    )
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)

    _strictly_json = model_validator(mode="before")(strictly_json)


class ListedModel(Response):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Response):
    object: Literal["list"]
    data: list[ListedModel]
