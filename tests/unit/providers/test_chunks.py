"""What a streamed completion's events tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.providers.chunks import Chunk, Completion, Usage
from shared.providers.failures import UpstreamCallError
from shared.providers.sse import Event


def take(completion: Completion, document: Any, name: bytes = b"") -> Chunk:
    return completion.take(Event(json.dumps(document).encode(), name))


def delta(content: str | None = None, *, reason: str | None = None, index: int = 0, **more: Any):  # type: ignore[no-untyped-def]
    said = {"content": content} if content is not None else {}
    choice = {"index": index, "delta": {**said, **more}, "finish_reason": reason}
    return {"id": "c1", "model": "m-2026", "choices": [choice]}


def test_text_of_deltas_is_put_together() -> None:
    completion = Completion()
    take(completion, delta(role="assistant"))
    take(completion, delta("Hel"))
    last = take(completion, delta("lo.", reason="stop"))
    assert completion.text == "Hello." and completion.text_chars == 6
    assert last.finish_reason == completion.finish_reason == "stop"
    assert (completion.id, completion.model) == ("c1", "m-2026")
    assert completion.is_whole


@pytest.mark.parametrize(
    ("more", "bears"),
    [
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": None, "tool_calls": None}, False),
        ({}, False),
        ({"content": "x"}, True),
        ({"reasoning_content": "hm"}, True),
        ({"refusal": "no"}, True),
        ({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f"}}]}, True),
        ({"function_call": {"name": "f", "arguments": ""}}, True),
        ({"audio": {"data": "AAAA"}}, True),
    ],
)
def test_a_role_is_no_content_and_a_tool_call_is(more: dict[str, Any], bears: bool) -> None:
    chunk = take(Completion(), {"choices": [{"index": 0, "delta": more}]})
    assert chunk.bears_content is bears


def test_everything_that_is_generated_is_counted() -> None:
    completion = Completion()
    take(completion, delta("abc", reasoning_content="de", refusal="f"))
    call = {"index": 0, "id": "t1", "function": {"name": "sum", "arguments": '{"a":1}'}}
    take(completion, {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    assert completion.text_chars == 3 + 2 + 1 + 3 + 7
    assert completion.text == "abc"


def test_every_choice_must_say_why_it_ended() -> None:
    completion = Completion(expected=2)
    take(completion, delta("a", index=0))
    take(completion, delta("b", index=1))
    take(completion, delta(index=0, reason="stop"))
    half = completion.is_finished
    take(completion, delta(index=1, reason="length"))
    assert (half, completion.is_finished, completion.is_whole) == (False, True, True)


def test_a_choice_that_never_began_is_missed() -> None:
    completion = Completion(expected=2)
    take(completion, delta("a", reason="stop"))
    assert completion.is_finished and not completion.is_whole


def test_usage_may_come_alone_or_with_content_or_be_null() -> None:
    completion = Completion()
    assert take(completion, {**delta("a"), "usage": None}).usage is None
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    with_content = take(completion, {**delta(reason="stop"), "usage": usage})
    assert with_content.usage == Usage(3, 4) and not with_content.is_usage_only
    alone = take(completion, {"choices": [], "usage": usage})
    assert alone.is_usage_only and completion.usage == Usage(3, 4)


@pytest.mark.parametrize(
    "usage",
    [[], "3", {}, {"completion_tokens": -1}, {"completion_tokens": True}, {"prompt_tokens": 3}],
)
def test_nonsense_usage_is_none(usage: object) -> None:
    completion = Completion()
    take(completion, {"choices": [], "usage": usage})
    assert completion.usage is None


def test_a_chunk_is_passed_on_as_it_came_but_on_one_line() -> None:
    data = b'{"choices": [\n  {"index": 0, "delta": {"content": "\\n"}}]}'
    assert Completion().take(Event(data)).raw == b"data: " + data.replace(b"\n", b" ") + b"\n\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 429, "message": "slow down"}, "rate-limited"),
        ({"code": "429"}, "rate-limited"),
        ({"code": "rate_limit_exceeded", "type": "tokens"}, "rate-limited"),
        ({"type": "overloaded_error", "message": "Overloaded"}, "upstream-5xx"),
        ({"code": 502}, "upstream-5xx"),
        ({"type": "server_error"}, "upstream-5xx"),
        ({"code": "content_filter"}, "content-filter"),
        ({"type": "invalid_request_error"}, "rejected"),
        ({"type": "authentication_error"}, "auth"),
        ({"status": "RESOURCE_EXHAUSTED"}, "rate-limited"),
        ({"message": "?"}, "upstream-5xx"),
        ("it broke", "upstream-5xx"),
    ],
)
def test_an_error_in_band_is_classified_by_its_code(error: object, expected: str) -> None:
    with pytest.raises(UpstreamCallError) as caught:
        take(Completion(), {"error": error, "choices": [{"delta": {"content": ""}}]})
    assert caught.value.error_class == expected
    assert caught.value.body is not None and caught.value.body["error"] == error


def test_an_event_named_error_is_one_whatever_its_shape() -> None:
    with pytest.raises(UpstreamCallError) as caught:
        take(Completion(), {"type": "overloaded_error"}, b"error")
    assert caught.value.error_class == "upstream-5xx"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"1", b"\xff", b'{"a": NaN}'])
def test_garbage_is_malformed(data: bytes) -> None:
    with pytest.raises(UpstreamCallError) as caught:
        Completion().take(Event(data))
    assert caught.value.error_class == "malformed"


@pytest.mark.parametrize("choices", [{"0": 1}, "x", [1], [None]])
def test_choices_that_are_none_are_malformed(choices: object) -> None:
    with pytest.raises(UpstreamCallError):
        take(Completion(), {"choices": choices})


def test_a_filtered_choice_is_said() -> None:
    completion = Completion()
    take(completion, delta(reason="content_filter"))
    assert completion.filtered and completion.is_whole
