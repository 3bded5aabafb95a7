"""What the replay upstream says to a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.replay.replies import Completion, UpstreamError, complete
from infra.local.replay.traffic import Traffic


def ask(traffic: Traffic, prompt: Any = "Who?", **more: Any) -> Completion:
    request = {"model": "small-7b", "messages": [{"role": "user", "content": prompt}], **more}
    return complete(traffic, request, completion_id="chatcmpl-1", created=1_700_000_000)


def refusal(traffic: Traffic, **request: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as refused:
        complete(traffic, request, completion_id="chatcmpl-1", created=0)
    return refused.value


@pytest.mark.parametrize(
    ("model", "prompt", "content"),
    [
        ("small-7b", "Who?", "Recorded result of small-7b: correct (score 1.0)."),
        ("large-70b", "Who?", "Recorded result of large-70b: wrong (score 0.0)."),
        ("large-70b", "Write it.", "Recorded result of large-70b: partly correct (score 0.5)."),
        ("replay/small-7b", "Who?", "Recorded result of small-7b: correct (score 1.0)."),
    ],
)
def test_a_recorded_prompt_gets_what_the_recording_holds(
    small_traffic: Traffic, model: str, prompt: str, content: str
) -> None:
    assert ask(small_traffic, prompt, model=model).content == content


def test_usage_is_a_quarter_of_the_characters_and_150_tokens_out(small_traffic: Traffic) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    usage = ask(small_traffic, messages=messages).usage
    assert usage == {"prompt_tokens": 4, "completion_tokens": 150, "total_tokens": 154}


def test_latency_is_the_one_that_everybody_else_computes(small_traffic: Traffic) -> None:
    assert ask(small_traffic).latency_ms == small_traffic.latency_ms(small_traffic.rows[0], 0)


def test_the_last_user_message_decides(small_traffic: Traffic) -> None:
    messages = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": [{"type": "text", "text": "Who?"}]},
    ]
    assert "correct (score 1.0)" in ask(small_traffic, messages=messages).content


def test_an_unknown_prompt_gets_an_honest_answer(small_traffic: Traffic) -> None:
    made = ask(small_traffic, "What is love?")
    assert "only replays recorded results" in made.content
    assert made.tokens_out == -(-len(made.content) // 4)


def test_an_unknown_prompt_in_json_mode_gets_json(small_traffic: Traffic) -> None:
    made = ask(small_traffic, "What is love?", response_format={"type": "json_object"})
    assert "only replays" in json.loads(made.content)["message"]


def test_max_tokens_cuts_the_count_and_says_so(small_traffic: Traffic) -> None:
    made = ask(small_traffic, max_tokens=20)
    assert (made.tokens_out, made.finish_reason) == (20, "length")
    assert ask(small_traffic, max_completion_tokens=150).finish_reason == "stop"


def test_a_model_that_is_not_recorded_is_not_found(small_traffic: Traffic) -> None:
    error = refusal(small_traffic, model="gpt-9", messages=[{"role": "user", "content": "Who?"}])
    assert error.status == 404
    assert error.body["error"]["code"] == "model_not_found"
    assert set(error.body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"messages": []}, "model"),
        ({"model": "small-7b"}, "messages"),
        ({"model": "small-7b", "messages": []}, "messages"),
        ({"model": "small-7b", "messages": ["hello"]}, "messages"),
        ({"model": "small-7b", "messages": [{"role": "user"}], "n": 2}, "n"),
        (
            {"model": "small-7b", "messages": [{"role": "user"}], "max_tokens": -1},
            "max_tokens",
        ),
    ],
)
def test_a_malformed_request_is_refused_by_parameter(
    small_traffic: Traffic, request_body: dict[str, Any], param: str
) -> None:
    error = refusal(small_traffic, **request_body)
    assert (error.status, error.body["error"]["param"]) == (400, param)


def test_chunks_join_to_the_whole_answer_and_end_with_usage(small_traffic: Traffic) -> None:
    made = ask(small_traffic)
    *chunks, last = made.as_chunks(include_usage=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == made.content
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], made.usage)


def test_chunks_do_not_mention_usage_unless_asked(small_traffic: Traffic) -> None:
    assert all("usage" not in chunk for chunk in ask(small_traffic).as_chunks(include_usage=False))
