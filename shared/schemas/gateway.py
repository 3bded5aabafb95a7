"""OpenAI's requests as far as the gateway itself must understand them.

Whatever else a client sends is passed on to the provider unread. Numbers and flags are taken as
JSON has them, never converted from text: what was checked is what is passed on.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from shared.schemas.common import Response, strictly_json

_Tokens = Annotated[StrictInt, Field(ge=1, le=100_000_000)]
_Text = Annotated[str, Field(min_length=1)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=4_096)],
    ],
    Field(
        max_length=64,
        description="Members that begin with `davinci_` say what the `x-davinci-*` headers say "
        "(`davinci_task`, `davinci_level`, `davinci_max_cost_usd` ...); the rest is passed on.",
    ),
]


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    role: str = Field(max_length=32, examples=["user"])
    content: str | list[dict[str, Any]] | None = Field(None, examples=["What is 2 + 2?"])


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    include_usage: StrictBool | None = Field(
        None, description="Send a last chunk with usage; ours also says what it cost."
    )


class ChatRequest(BaseModel):
    """A chat completion request; `model` may be `auto`, `auto:L3`, `policy:name` or a model id."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    model: str = Field(min_length=1, max_length=160, examples=["auto"])
    messages: list[ChatMessage] = Field(min_length=1, max_length=2_000)
    metadata: Metadata | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None

    _strictly_json = model_validator(mode="before")(strictly_json)


class EmbeddingsRequest(BaseModel):
    """A request for embeddings; `model` is a model id, or `auto` where there is only one."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    model: str = Field(min_length=1, max_length=160, examples=["openai/text-embedding-3-small"])
    input: (
        _Text
        | Annotated[list[_Text], Field(min_length=1, max_length=2_048)]
        | Annotated[list[StrictInt], Field(min_length=1, max_length=100_000)]
        | Annotated[
            list[Annotated[list[StrictInt], Field(min_length=1)]],
            Field(min_length=1, max_length=2_048),
        ]
    ) = Field(description="A text, texts, tokens, or lists of tokens.", examples=["Hello."])
    metadata: Metadata | None = None

    _strictly_json = model_validator(mode="before")(strictly_json)


class ListedModel(Response):
    id: str = Field(examples=["auto"])
    object: Literal["model"]
    created: int = Field(examples=[1_700_000_000])
    owned_by: str = Field(examples=["openai"])


class ModelList(Response):
    object: Literal["list"]
    data: list[ListedModel]
