"""Counts that n-grams cannot see: length, digits, case, structure, how a text opens and ends.

Words are counted in English and, for the few intents that matter, in Korean. Every value is made
of integers by correctly rounded operations; the vector is quantised by ``features``.
"""

from __future__ import annotations

import math
import re
import string
from typing import Final

import numpy as np

HAND_MADE: Final[tuple[str, ...]] = (
    "constant",
    "log_bytes",
    "log_words",
    "log_lines",
    "word_length",
    "digit_share",
    "upper_share",
    "symbol_share",
    "non_ascii_share",
    "hangul_share",
    "question_marks",
    "opens_with_question_word",
    "question_words",
    "code_marks",
    "code_fence",
    "maths_marks",
    "choice_options",
    "structure_marks",
    "creation_words",
    "reasoning_words",
    "chat_words",
    "list_lines",
    "opens_upper_case",
    "ends_with_question_mark",
    "ends_with_full_stop",
    "ends_open",
    "numbers",
    "sentences",
    "comparisons",
    "latex_marks",
    "commas",
    "capitalised_words",
)
N_HAND_MADE: Final = len(HAND_MADE)

_QUESTION, _CODE, _MATHS, _CREATION, _REASONING, _CHAT, _COMPARISON, _STRUCTURE = range(8)
_N_KINDS = 8
_WORDS: Final[dict[bytes, int]] = {
    word: kind
    for kind, words in (
        (_QUESTION, b"who what when where which whose whom why how"),
        (
            _CODE,
            b"def return class import function assert python javascript java sql regex api bug"
            b" algorithm list array string int stdout",
        ),
        (_MATHS, b"many much solve prove equation probability triangle integer integers total sum"),
        (
            _CREATION,
            b"write create generate compose implement design draft build develop story poem essay"
            b" program code sentence",
        ),
        (
            _REASONING,
            b"explain analyze analyse compare evaluate derive calculate compute determine reason"
            b" step steps because therefore if suppose assume",
        ),
        (
            _CHAT,
            b"hi hello hey thanks thank please sorry feel feeling you your i'm my me friend advice",
        ),
        (
            _COMPARISON,
            b"more less fewer than twice half each every times per percent after before remaining"
            b" left rest third quarter double least most not except",
        ),
        (_STRUCTURE, b"json xml table csv yaml"),
    )
    for word in words.split()
}
# Korean writes particles onto words, so stems are counted as parts of the text.
_KOREAN: Final[tuple[tuple[bytes, int], ...]] = tuple(
    (stem.encode(), kind)
    for kind, stems in (
        (_QUESTION, ("왜", "무엇", "누구", "언제", "어디", "어떻게")),
        (_CODE, ("코드", "함수", "파이썬", "버그", "알고리즘")),
        (_MATHS, ("확률", "방정식", "구하시오", "몇 ")),
        (_CREATION, ("작성", "써 줘", "써줘", "만들어", "구현")),
        (_REASONING, ("설명", "분석", "계산", "비교", "증명")),
        (_CHAT, ("안녕", "고마", "감사", "미안", "기분", "힘들")),
    )
    for stem in stems
)
_NOT_IN_WORDS: Final = bytes(
    b if b >= 128 or chr(b).isalnum() or b == ord("'") else ord(" ") for b in range(256)
)


# Patterns are sought in the shape of a text, where one byte stands for many (``a`` for any
# lower-case letter, ``A``, ``.`` for what ends a sentence, a line feed for any blank but the
# space): a literal in a shape is found ten times as fast as the pattern that it means.
def _shapes(*shapes: tuple[bytes, bytes]) -> bytes:
    table = bytearray(b"x" * 256)
    for shape, members in shapes:
        for member in members:
            table[member] = shape[0]
    return bytes(table)


_LOWER, _UPPER = string.ascii_lowercase.encode(), string.ascii_uppercase.encode()
_DIGITS = string.digits.encode()
_OTHER_BLANKS = b"\t\n\r\f\v"
_SHAPES = _shapes(
    (b"a", _LOWER), (b"A", _UPPER), (b",", b","), (b".", b".!?"),
    (b" ", b" "), (b"\n", _OTHER_BLANKS),
)  # fmt: skip
_OPTION_SHAPES = _shapes(
    (b"a", b"abcde"), (b")", b").:"), (b"(", b"("), (b" ", b" " + _OTHER_BLANKS)
)
_CALL_SHAPES = _shapes((b"w", _LOWER + _UPPER + _DIGITS + b"_"), (b"(", b"("), (b")", b")"))
_MOST_IN_CALL: Final = 40
_NOT_DIGITS = bytes(b if b in _DIGITS else ord(" ") for b in range(256))

# Every pattern is linear in the text: none begins with a repetition that could fail late and
# start again one byte on.
_OPENING = re.compile(
    rb"\s*(?:q(?:uestion)?\s*[:.]\s*)?(?:who|what|when|where|which|whose|whom|why|how|is|are|was|did"
    rb"|does|do|can|name)\b"
)
_OPERATION = re.compile(rb"\d ?[-+*/=^<>] ?\d")
_LIST_LINE = re.compile(rb"\n[ \t]*(?:[-*]|\d{1,9}[.)])\s")


def hand_made(n_bytes: int, sample: bytes, lower: bytes) -> tuple[float, ...]:
    """Compute the values of ``HAND_MADE``.

    Parameters
    ----------
    n_bytes
        Length of the whole text in UTF-8.
    sample, lower
        The part that is read, as it is and with ASCII letters in lower case.
    """
    n = max(1, len(sample))
    counts = np.bincount(np.frombuffer(sample, dtype=np.uint8), minlength=256).tolist()
    digits = sum(counts[48:58])
    upper = sum(counts[65:91])
    blanks = sum(counts[9:14]) + counts[32]
    non_ascii = sum(counts[128:])
    # Hangul syllables are the three-byte sequences that begin with EA..ED.
    hangul = 3 * sum(counts[0xEA:0xEE])
    symbols = max(0, n - digits - upper - sum(counts[97:123]) - blanks - non_ascii)
    kinds = [0] * _N_KINDS
    words = lower.translate(_NOT_IN_WORDS).split()
    for word in words:
        kind = _WORDS.get(word)
        if kind is not None:
            kinds[kind] += 1
    if hangul:
        for stem, kind in _KOREAN:
            kinds[kind] += lower.count(stem)
    latex = counts[36] + counts[92] + counts[94]  # $ \ ^
    brackets = sum(counts[ord(mark)] for mark in "{}[]<>|")
    line_ends = sum(
        lower.count(mark) for mark in (b";\n", b"{\n", b"}\n", b":\n    ", b"=>", b"()")
    )
    shape = sample.translate(_SHAPES)
    sentences = sum(shape.count(end) for end in (b". ", b".\n"))
    sentences += shape.endswith(b".")
    capitalised = _count_after(b"a,", b" Aa", shape)
    options = _count_after(b" (", b"a) ", lower.translate(_OPTION_SHAPES))
    # What cannot be there is not sought: a search costs as much as all the counting.
    numbers = len(lower.translate(_NOT_DIGITS).split()) if digits else 0
    operations = _count(_OPERATION, lower) if digits else 0
    calls = _count_calls(lower.translate(_CALL_SHAPES)) if counts[40] else 0  # (
    list_lines = _count(_LIST_LINE, lower) if counts[10] else 0
    scale = n_bytes / n
    end = sample.rstrip()[-1:]
    return (
        1.0,
        log2_of(1 + n_bytes) / 4.0,
        log2_of(1 + len(words) * scale) / 4.0,
        log2_of(1 + counts[10] * scale) / 4.0,
        min(16.0, (n - blanks) / max(1, len(words))) / 8.0,
        4.0 * digits / n,
        4.0 * upper / n,
        4.0 * symbols / n,
        2.0 * non_ascii / n,
        2.0 * min(n, hangul) / n,
        log2_of(1 + counts[63]) / 2.0,
        1.0 if _OPENING.match(lower) else 0.0,
        log2_of(1 + kinds[_QUESTION]) / 2.0,
        log2_of(1 + kinds[_CODE] + line_ends + calls) / 2.0,
        1.0 if b"```" in lower or b"def " in lower else 0.0,
        log2_of(1 + kinds[_MATHS] + latex + counts[37] + operations) / 2.0,
        log2_of(1 + options) / 2.0,
        log2_of(1 + kinds[_STRUCTURE] + brackets) / 4.0,
        log2_of(1 + kinds[_CREATION]) / 2.0,
        log2_of(1 + kinds[_REASONING]) / 2.0,
        log2_of(1 + kinds[_CHAT]) / 2.0,
        log2_of(1 + list_lines) / 2.0,
        1.0 if sample[:1].isupper() else 0.0,
        1.0 if end == b"?" else 0.0,
        1.0 if end == b"." else 0.0,
        1.0 if end.isalnum() else 0.0,
        log2_of(1 + numbers) / 2.0,
        log2_of(1 + sentences) / 2.0,
        log2_of(1 + kinds[_COMPARISON]) / 2.0,
        log2_of(1 + latex) / 2.0,
        log2_of(1 + counts[44]) / 2.0,
        log2_of(1 + capitalised) / 2.0,
    )


def log2_of(value: float) -> float:
    """Return a piecewise linear log2, exact in IEEE arithmetic (libm's last bit differs)."""
    mantissa, exponent = math.frexp(value)
    return (exponent - 1) + (2.0 * mantissa - 1.0)


def _count(pattern: re.Pattern[bytes], data: bytes) -> int:
    return len(pattern.findall(data))


def _count_calls(data: bytes) -> int:
    """Count ``f(x)`` with at most ``_MOST_IN_CALL`` word bytes between the brackets."""
    n, at = 0, data.find(b"w(")
    while at >= 0:
        start = at + 2
        stop = data.find(b")", start, start + _MOST_IN_CALL + 1)
        n += stop >= 0 and data.count(b"w", start, stop) == stop - start
        at = data.find(b"w(", start)
    return n


def _count_after(before: bytes, literal: bytes, data: bytes) -> int:
    """Count ``literal`` behind one of the bytes ``before``; occurrences share no byte."""
    n, free = 0, 0
    at = data.find(literal)
    while at >= 0:
        if at > free and data[at - 1] in before:
            n += 1
            free = at + len(literal)
        at = data.find(literal, at + 1)
    return n
