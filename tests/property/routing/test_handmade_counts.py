"""What is counted without regular expressions is what they would have counted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.handmade import HAND_MADE, hand_made, log2_of

# Made of what the patterns are about, so that they meet, touch and overlap.
TEXTS = st.lists(
    st.sampled_from(
        ["a", "b", "e", "f", "z", "_", "A", "Q", "0", "7", ",", ".", "!", "?", ":", "(", ")", " ",
         "\n", "\t", "\v", "\f", "\r", "é", "a) ", "(b) ", " Aa", "f(x)", "w" * 39, "w" * 41]
    ),
    max_size=60,
).map("".join)  # fmt: skip
PATTERNS = {
    "choice_options": (rb"[\s(][a-e][).:]\s", 2.0),
    "numbers": (rb"\d+", 2.0),
    "sentences": (rb"[.!?](?:\s|$)", 2.0),
}


def values_of(text: str) -> dict[str, float]:
    raw = text.encode()
    return dict(zip(HAND_MADE, hand_made(len(raw), raw, raw.lower()), strict=True))


@pytest.mark.parametrize("name", PATTERNS)
@given(text=TEXTS)
def test_counts_are_those_of_the_pattern(name: str, text: str) -> None:
    pattern, scale = PATTERNS[name]
    count = len(re.findall(pattern, text.encode().lower()))
    assert values_of(text)[name] == log2_of(1 + count) / scale


@given(text=TEXTS)
def test_capitalised_words_are_those_of_the_pattern(text: str) -> None:
    count = len(re.findall(rb"[a-z,] [A-Z][a-z]", text.encode()))
    assert values_of(text)["capitalised_words"] == log2_of(1 + count) / 2.0


@given(text=TEXTS)
def test_calls_are_those_of_the_pattern(text: str) -> None:
    lower = text.encode().lower()
    calls = len(re.findall(rb"\w\(\w{0,40}\)", lower))
    # The other code marks: ``()`` counts among the ends of lines; no word here is one of code.
    assert values_of(text)["code_marks"] == log2_of(1 + calls + lower.count(b"()")) / 2.0
