"""OpenAI's own Python client against the gateway: what works with OpenAI works here.

Nothing of the client is changed but its base URL and key.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from tests.conformance.harness import MODEL, SAYS, Gateway, decision_of, says, sent
from tests.fakes.streaming import (
    DONE,
    chunk,
    delta,
    finish,
    finish_connection,
    in_band_error,
    role,
    until,
    usage,
    wait_to_be_left,
)
from tests.fakes.upstream import (
    answer,
    completion,
    stream,
)

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "call_1", "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Seoul"}'},
}  # fmt: skip


class Capital(BaseModel):
    country: str
    city: str


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def only_call(calls: Sequence[Any] | None) -> Any:
    assert calls is not None
    (call,) = calls
    return call


# Whole answers.


@pytest.mark.parametrize("model", ["auto", "auto:L3", "policy:balanced", MODEL])
def test_a_chat_is_answered_whatever_name_the_model_has(client: OpenAI, model: str) -> None:
    done = client.chat.completions.create(model=model, messages=SAYS)
    assert done.object == "chat.completion"
    assert done.choices[0].message.content == "Hello there, friend."
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None and done.usage.total_tokens == 18


@pytest.mark.anyio
async def test_the_asynchronous_client_chats_and_streams(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key) as client:
        done = await client.chat.completions.create(model=MODEL, messages=SAYS)
        assert done.choices[0].message.content == "Hello there, friend."
        words = [
            piece.choices[0].delta.content or ""
            async for piece in await client.chat.completions.create(
                model=MODEL, messages=SAYS, stream=True
            )
        ]
    assert "".join(words) == "Hello there, friend." and len(words) > 3


def test_tools_are_called(gateway: Gateway, client: OpenAI) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    says(gateway, completion(message, "tool_calls", prompt_tokens=9, completion_tokens=5))
    done = client.chat.completions.create(
        model=MODEL, messages=SAYS, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False
    )
    assert done.choices[0].finish_reason == "tool_calls"
    call = only_call(done.choices[0].message.tool_calls)
    assert call.id == "call_1" and json.loads(call.function.arguments) == {"city": "Seoul"}
    assert sent(gateway)["tools"] == [WEATHER]
    assert sent(gateway)["tool_choice"] == "auto"
    assert sent(gateway)["parallel_tool_calls"] is False


def test_a_conversation_with_tool_results_is_passed_on_unchanged(
    gateway: Gateway, client: OpenAI
) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
    ]
    client.chat.completions.create(model=MODEL, messages=messages)
    assert sent(gateway)["messages"] == messages


def test_a_json_schema_is_parsed(gateway: Gateway, client: OpenAI) -> None:
    text = '{"country": "Korea", "city": "Seoul"}'
    says(gateway, answer(text, prompt_tokens=9, completion_tokens=9))
    done = client.chat.completions.parse(model=MODEL, messages=SAYS, response_format=Capital)
    assert done.choices[0].message.parsed == Capital(country="Korea", city="Seoul")
    asked = sent(gateway)["response_format"]
    assert asked["type"] == "json_schema" and asked["json_schema"]["strict"] is True


def test_images_are_passed_on_unchanged(gateway: Gateway, client: OpenAI) -> None:
    pixel = base64.b64encode(b"\x89PNG").decode()
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}",
                                            "detail": "low"}},
    ]  # fmt: skip
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert sent(gateway)["messages"][0]["content"] == content


def test_every_parameter_reaches_the_provider_as_it_was_sent(
    gateway: Gateway, client: OpenAI
) -> None:
    given: dict[str, Any] = {
        "temperature": 0.3, "top_p": 0.9, "n": 2, "stop": ["END", "\n\n"], "seed": 42,
        "logprobs": True, "top_logprobs": 3, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "logit_bias": {"50256": -100}, "max_completion_tokens": 64, "user": "ann",
        "service_tier": "flex", "reasoning_effort": "low", "store": False,
        "metadata": {"team": "search"},
    }  # fmt: skip
    unknown = {"top_k": 40, "provider": {"order": ["a", "b"]}, "chat_template_kwargs": {"x": None}}
    done = client.chat.completions.create(
        model=MODEL, messages=SAYS, extra_body=unknown, **given
    )  # fmt: skip
    assert len(done.choices) == 2 and [choice.index for choice in done.choices] == [0, 1]
    assert sent(gateway) == {"model": MODEL, "messages": SAYS, **given, **unknown}


def test_what_steers_the_routing_is_not_passed_on(gateway: Gateway, client: OpenAI) -> None:
    steering = {"davinci_task": "code.review", "davinci_level": "L4", "team": "search"}
    done = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=SAYS, metadata=steering
    )
    assert done.headers["x-davinci-level"] == "L4"
    assert sent(gateway)["metadata"] == {"team": "search"}


def test_headers_say_who_served_and_what_it_cost(gateway: Gateway, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=SAYS)
    done = raw.parse()
    assert raw.headers["x-davinci-model"] == MODEL
    assert raw.headers["x-davinci-policy"].count("@") == 1
    cost = 11 * 0.25e-6 + 7 * 1.25e-6
    assert float(raw.headers["x-davinci-cost-usd"]) == pytest.approx(cost)
    durations = {part.split(";")[0].strip() for part in raw.headers["server-timing"].split(",")}
    assert {"total", "upstream"} <= durations
    assert done._request_id and done._request_id == raw.headers["x-request-id"]
    outcome = gateway.outcome(decision_of(raw))
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (11, 7)
    assert outcome["cost_usd"] == pytest.approx(cost) and outcome["status"] == "success"


# Streams.


def test_a_stream_ends_with_its_usage(gateway: Gateway, client: OpenAI) -> None:
    pieces = list(
        client.chat.completions.create(
            model=MODEL, messages=SAYS, stream=True, stream_options={"include_usage": True}
        )
    )
    *said, last = pieces
    text = "".join(piece.choices[0].delta.content or "" for piece in said)
    assert text == "Hello there, friend." and said[-1].choices[0].finish_reason == "stop"
    assert all(piece.usage is None for piece in said)
    assert last.choices == [] and last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (11, 7)
    assert {piece.object for piece in pieces} == {"chat.completion.chunk"}


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
def test_a_stream_without_the_wish_has_no_usage_but_is_accounted_by_it(
    gateway: Gateway, client: OpenAI, options: dict[str, Any]
) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=SAYS, stream=True, **options
    ) as raw:
        pieces = list(raw.parse())
    assert all(piece.choices and piece.usage is None for piece in pieces)
    assert sent(gateway)["stream_options"]["include_usage"] is True
    outcome = gateway.outcome(decision_of(raw))
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (11, 7)
    assert outcome["attempts"][-1]["usage"] == "provider"


def test_tool_calls_stream_in_pieces(gateway: Gateway, client: OpenAI) -> None:
    def piece(**function: str) -> Any:
        call = {"index": 0, "function": function}
        if "name" in function:
            call |= {"id": "call_1", "type": "function"}
        return chunk({"delta": {"tool_calls": [call]}}, text="x")

    script = (
        role(), piece(name="weather", arguments=""), piece(arguments='{"city": '),
        piece(arguments='"Seoul"}'), finish("tool_calls"), usage(9, 5), DONE,
    )  # fmt: skip
    says(gateway, stream(*script))
    with client.chat.completions.stream(model=MODEL, messages=SAYS, tools=[WEATHER]) as streaming:
        done = streaming.get_final_completion()
    call = only_call(done.choices[0].message.tool_calls)
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert call.function.arguments == '{"city": "Seoul"}'


def test_the_stream_helper_parses_a_schema(gateway: Gateway, client: OpenAI) -> None:
    says(gateway, answer('{"country": "Korea", "city": "Seoul"}', completion_tokens=9))
    with client.chat.completions.stream(
        model=MODEL, messages=SAYS, response_format=Capital
    ) as streaming:
        done = streaming.get_final_completion()
    assert done.choices[0].message.parsed == Capital(country="Korea", city="Seoul")


def test_pieces_arrive_as_they_are_said(gateway: Gateway, client: OpenAI) -> None:
    """The model waits for each piece to be read before it says the next: nothing is held back."""

    heard = [threading.Event() for _ in range(3)]
    script = [step for n in range(3) for step in (delta(f"{n} "), until(heard[n]))]
    says(gateway, stream(*script, finish(), DONE))
    said = ""
    for piece in client.chat.completions.create(
        model=MODEL, messages=SAYS, stream=True, timeout=10
    ):
        text = piece.choices[0].delta.content
        said += text or ""
        if text:
            heard[int(text)].set()
    assert said == "0 1 2 "


@pytest.mark.parametrize(
    "end", [in_band_error(500, "overloaded"), finish_connection], ids=["error", "cut"]
)
def test_a_stream_that_breaks_raises_after_what_was_said(
    gateway: Gateway, client: OpenAI, end: Any
) -> None:
    says(gateway, stream(role(), delta("Once "), end))
    said = ""
    caught: openai.APIError | None = None
    try:
        for piece in client.chat.completions.create(model=MODEL, messages=SAYS, stream=True):
            said += piece.choices[0].delta.content or ""
    except openai.APIError as broken:
        caught = broken
    assert said == "Once "
    assert caught is not None and not isinstance(caught, openai.APIConnectionError)
    assert caught.message


def test_a_client_that_stops_reading_leaves_an_outcome(gateway: Gateway, client: OpenAI) -> None:
    says(gateway, stream(role(), delta("Once "), delta("upon "), wait_to_be_left))
    with client.chat.completions.create(model=MODEL, messages=SAYS, stream=True) as streaming:
        for piece in streaming:
            if piece.choices[0].delta.content == "upon ":
                break
    outcome = gateway.outcome(gateway.last_decision())
    assert outcome["model"] == MODEL and 2 <= outcome["tokens_out"] <= 3
