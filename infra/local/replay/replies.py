"""What the replay upstream says, in OpenAI's words; pure, without a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.replay.latency import first_token_ms, simulated_latency_ms
from infra.local.replay.traffic import TOKENS_OUT, RecordedModel, Traffic, estimate_tokens

Json = dict[str, Any]

_UNKNOWN = (
    "This upstream only replays recorded results of {model}, and it has no recording of this "
    "prompt. Connect a real provider to get a real answer."
)


class UpstreamError(Exception):
    """A refusal in OpenAI's error shape."""

    def __init__(self, status: int, message: str, *, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": param,
                "code": code,
            }
        }


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer; ``latency_ms`` is simulated and goes into ``openai-processing-ms``."""

    id: str
    created: int
    model: str
    content: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    latency_ms: int
    first_token_ms: int

    @property
    def usage(self) -> Json:
        """Token counts: four characters a token in, the recordings' assumption out."""
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        }

    def as_object(self) -> Json:
        """Return the ``chat.completion`` object."""
        message = {"role": "assistant", "content": self.content, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        return self._frame("chat.completion", [choice]) | {"usage": self.usage}

    def as_chunks(self, *, include_usage: bool) -> Iterator[Json]:
        """Yield the ``chat.completion.chunk`` objects; the usage chunk comes last, if asked for."""
        first, _, rest = self.content.partition(" ")
        deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": first}]
        deltas += [{"content": " " + rest}] if rest else []
        for delta in deltas:
            yield self._chunk([_chunk_choice(delta, None)], include_usage)
        yield self._chunk([_chunk_choice({}, self.finish_reason)], include_usage)
        if include_usage:
            yield self._frame("chat.completion.chunk", []) | {"usage": self.usage}

    def _chunk(self, choices: list[Json], include_usage: bool) -> Json:
        chunk = self._frame("chat.completion.chunk", choices)
        return chunk | {"usage": None} if include_usage else chunk

    def _frame(self, kind: str, choices: list[Json]) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def complete(
    traffic: Traffic, request: Mapping[str, Any], *, completion_id: str, created: int
) -> Completion:
    """Answer a chat request as the recorded model would have been judged.

    Parameters
    ----------
    request : mapping
        The decoded body of ``POST /v1/chat/completions``.
    completion_id, created : str, int
        Id and unix time to stamp on the answer.

    Raises
    ------
    UpstreamError
        404 for a model that is not recorded, 400 for a body that is not a chat request.
    """
    model = request.get("model")
    if not isinstance(model, str):
        raise UpstreamError(400, "you must provide a model parameter", code=None, param="model")
    index = traffic.model_index(model)
    if index is None:
        message = f"The model '{model}' does not exist in the recordings."
        raise UpstreamError(404, message, code="model_not_found", param="model")
    if request.get("n") not in {None, 1}:
        raise UpstreamError(400, "a recording has one answer: n must be 1", code=None, param="n")
    texts = _texts(request.get("messages"))
    recorded = traffic.models[index]
    row = traffic.row_of_prompt(texts.last_user)
    if row is None:
        content = _UNKNOWN.format(model=recorded.name)
        if _wants_json(request):
            content = json.dumps({"message": content})
        wanted, name = estimate_tokens(content), texts.last_user
    else:
        content, wanted, name = _verdict(recorded, row.quality[index]), TOKENS_OUT, row.id
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or wanted
    if not isinstance(limit, int) or limit < 1:
        raise UpstreamError(400, "max_tokens must be at least 1", code=None, param="max_tokens")
    tokens_out = min(wanted, limit)
    return Completion(
        id=completion_id,
        created=created,
        model=recorded.name,
        content=content,
        finish_reason="stop" if tokens_out == wanted else "length",
        tokens_in=estimate_tokens(texts.all),
        tokens_out=tokens_out,
        latency_ms=simulated_latency_ms(name, recorded.name, tokens_out),
        first_token_ms=first_token_ms(recorded.name),
    )


def model_list(traffic: Traffic) -> Json:
    """Return the recorded models in the shape of ``GET /v1/models``."""
    return {"object": "list", "data": [model_object(model) for model in traffic.models]}


def model_object(model: RecordedModel) -> Json:
    """Return one model in OpenAI's shape."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "replay"}


@dataclass(frozen=True, slots=True)
class _Texts:
    last_user: str
    all: str


def _texts(messages: object) -> _Texts:
    if not isinstance(messages, list) or not messages:
        raise UpstreamError(400, "messages must be a non-empty array", code=None, param="messages")
    last_user = ""
    every = []
    for message in messages:
        if not isinstance(message, dict):
            raise UpstreamError(400, "a message must be an object", code=None, param="messages")
        text = _text(message.get("content"))
        every.append(text)
        if message.get("role") == "user":
            last_user = text
    return _Texts(last_user, "".join(every))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(str(part.get("text", "")) for part in parts)


def _verdict(model: RecordedModel, quality: float) -> str:
    word = "correct" if quality == 1.0 else "wrong" if quality == 0.0 else "partly correct"
    return f"Recorded result of {model.name}: {word} (score {quality!r})."


def _wants_json(request: Mapping[str, Any]) -> bool:
    wanted = request.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}


def _chunk_choice(delta: Json, finish_reason: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
