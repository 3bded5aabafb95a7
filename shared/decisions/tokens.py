"""Token estimates before any provider has counted."""

from __future__ import annotations

_CHARACTERS_PER_TOKEN = 4.0
_TOKENS_PER_WIDE_CHARACTER = 0.8


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: 4 ASCII characters, or 1.25 others, a token.

    Current tokenizers spend close to one token on a Hangul or CJK character; a quarter would
    let long Korean prompts slip past a model's context limit.
    """
    ascii_count = len(text.encode("ascii", "ignore"))
    wide = len(text) - ascii_count
    return max(1, round(ascii_count / _CHARACTERS_PER_TOKEN + wide * _TOKENS_PER_WIDE_CHARACTER))
