"""What the router and the provider get of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.gateway.asking import Ask, chat_ask, embeddings_ask
from functions.gateway.steering import Hints
from functions.gateway.targets import Target
from shared.routing.types import Constraints, ModelCard

CARD = ModelCard("m", 1.0, 2.0, context_tokens=8_000, max_tokens_out=1_000)
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def ask(target: Target | None = None, hints: Hints | None = None, **members: Any) -> Ask:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}], **members}
    return chat_ask(body, target or Target(), hints or Hints(), len(json.dumps(body)))


def test_the_provider_gets_every_member_but_our_metadata() -> None:
    made = ask(seed=7, metadata={"davinci_task": "code", "ticket": "42"}, new_member=[1])
    assert made.payload["seed"] == 7 and made.payload["new_member"] == [1]
    assert made.payload["metadata"] == {"ticket": "42"}
    assert "metadata" not in ask(metadata={"davinci_task": "code"}).payload


def test_a_named_model_narrows_what_the_caller_allows() -> None:
    allowed = Hints(constraints=Constraints(models_allowed=frozenset({"a", "b"}), region="eu"))
    only_a = ask(Target(model="a"), allowed).context.constraints
    assert only_a.models_allowed == frozenset({"a"}) and only_a.region == "eu"
    assert ask(Target(model="c"), allowed).context.constraints.models_allowed == frozenset()
    assert ask().context.constraints.models_allowed is None


def test_the_level_in_the_models_name_wins_over_the_hint() -> None:
    assert ask(Target(level="L3"), Hints(level="L1")).context.level == "L3"
    assert ask(None, Hints(level="L1")).context.level == "L1"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, 1_000),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60, "max_tokens": 50}, 60),
        ({"max_tokens": 50, "n": 3}, 150),
        ({"n": None, "max_tokens": None}, 1_000),
    ],
)
def test_the_longest_answer_is_what_was_asked_for_or_what_the_model_can(
    members: dict[str, Any], expected: int
) -> None:
    assert ask(**members).most_tokens_out(CARD) == expected


def test_a_model_without_a_limit_can_fill_its_context() -> None:
    assert ask().most_tokens_out(ModelCard("m", 1.0, 2.0, context_tokens=8_000)) == 8_000


@pytest.mark.parametrize("text", ["Hello.", "안녕하세요 세계", "🦊" * 50, "\n\t\x00", "a" * 5_000])
def test_no_tokenizer_makes_more_tokens_than_the_bound(text: str) -> None:
    made = ask(messages=[{"role": "user", "content": text}])
    assert made.most_tokens_in >= len(text.encode())
    assert made.most_tokens_in >= made.context.tokens_in


def test_an_inline_image_is_not_counted_by_its_bytes() -> None:
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 200_000}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, inline]}
    made = ask(messages=[message])
    assert made.context.modalities == {"text", "image"}
    assert made.context.tokens_in <= made.most_tokens_in < 10_000


def test_definitions_of_tools_are_read_by_the_model_too() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 400}}]
    assert ask(tools=tools).context.tokens_in > ask().context.tokens_in + 90


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, {"text", "image"}),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, {"text", "audio"}),
        ({"modalities": "audio"}, {"text"}),
        ({"modalities": 7}, {"text"}),
    ],
)
def test_modalities_are_those_of_parts_and_of_the_answer(
    members: dict[str, Any], expected: set[str]
) -> None:
    assert ask(**members).context.modalities == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [(None, False), ({}, False), ({"include_usage": True}, True), ({"include_usage": None}, False)],
)
def test_usage_of_a_stream_is_for_who_asks(options: object, expected: bool) -> None:
    made = ask(stream=True, stream_options=options)
    assert made.is_streamed() and made.wants_usage() is expected


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("four char", 2), (["four char", "more text"], 5), ([1, 2, 3], 3), ([[1, 2], [3]], 3)],
)
def test_embeddings_count_texts_and_tokens(given: object, tokens: int) -> None:
    made = embeddings_ask({"model": "e", "input": given}, "e", Hints(), 100)
    assert made.context.tokens_in == tokens
    assert made.context.modalities == {"embeddings"}
    assert made.context.constraints.models_allowed == frozenset({"e"})
    assert made.most_tokens_out(CARD) == 0
