"""Events from bytes that a network splits wherever it likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers.sse import MAX_EVENT_BYTES, Event, EventTooLargeError, SseParser

RECORDED = (
    ": keep-alive\r\n\r\n"
    'data: {"id":"1","choices":[{"delta":{"role":"assistant"}}]}\n\n'
    'data:{"text":"no space, accents: é, 한국어, 🎨"}\n\n'
    "event: message\rdata: first line\rdata: second line\r\r"
    "data: third line\r\ndata: fourth line\r\n\r\n"
    ': comment with a "data: x" inside\n'
    "id: 7\nretry: 10\ndata\n\n"
    'data: {"usage":{"prompt_tokens":1}}\r\n\r\n'
    "data: [DONE]\n\n"
).encode()
EVENTS = [
    Event(b'{"id":"1","choices":[{"delta":{"role":"assistant"}}]}'),
    Event('{"text":"no space, accents: é, 한국어, 🎨"}'.encode()),
    Event(b"first line\nsecond line", b"message"),
    Event(b"third line\nfourth line"),
    Event(b""),
    Event(b'{"usage":{"prompt_tokens":1}}'),
    Event(b"[DONE]"),
]


def parsed(pieces: Sequence[bytes]) -> list[Event]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.end()


def feed_all(pieces: Iterable[bytes]) -> None:
    parser = SseParser()
    for piece in pieces:
        parser.feed(piece)


def test_a_stream_in_one_piece() -> None:
    assert parsed([RECORDED]) == EVENTS


@given(st.lists(st.integers(0, len(RECORDED)), max_size=40).map(sorted))
def test_any_split_of_a_stream_yields_the_same_events(cuts: list[int]) -> None:
    edges = [0, *cuts, len(RECORDED)]
    pieces = [RECORDED[a:b] for a, b in pairwise(edges)]
    assert parsed(pieces) == EVENTS


def test_a_stream_byte_by_byte() -> None:
    assert parsed([bytes([byte]) for byte in RECORDED]) == EVENTS


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8).map(sorted))
def test_any_bytes_split_anywhere_mean_the_same(content: bytes, cuts: list[int]) -> None:
    edges = [0, *(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[a:b] for a, b in pairwise(edges)]
    assert parsed(pieces) == parsed([content])


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    assert parsed([b"\xef\xbb", b"\xbfdata: 1\n\n"]) == [Event(b"1")]


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert parsed([b"data: 1\n\ndata: [DONE]"]) == [Event(b"1"), Event(b"[DONE]")]
    assert parsed([b"data: 1\n\ndata: [DONE]\n"]) == [Event(b"1"), Event(b"[DONE]")]


@pytest.mark.parametrize("line", [b"data: " + b"x" * MAX_EVENT_BYTES, b"x" * (MAX_EVENT_BYTES + 1)])
def test_an_event_without_end_is_refused(line: bytes) -> None:
    with pytest.raises(EventTooLargeError):
        feed_all(line[start : start + 65_536] for start in range(0, len(line), 65_536))


def test_many_lines_of_one_event_are_refused_as_one() -> None:
    with pytest.raises(EventTooLargeError):
        feed_all([b"data: " + b"x" * 65_536 + b"\n"] * 20)


def test_keep_alives_are_not_held_against_an_event() -> None:
    parser = SseParser()
    for _ in range(40):
        parser.feed(b": " + b"x" * 65_536 + b"\n")
    assert parser.feed(b"data: 1\n\n") == [Event(b"1")]


def test_a_stream_without_end_is_refused() -> None:
    with pytest.raises(EventTooLargeError):
        feed_all([b": " + b"x" * 1_000_000 + b"\n"] * 100)


def test_only_whole_lines_are_signs_of_life() -> None:
    parser = SseParser()
    parser.feed(b"data: dri")
    parser.feed(b"pping")
    assert parser.lines == 0
    parser.feed(b"\n: alive\n")
    assert parser.lines == 2
