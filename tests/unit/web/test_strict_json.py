"""JSON that no two parsers read differently."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.web.strict_json import MAX_DEPTH, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@given(VALUES, st.booleans())
def test_what_python_writes_is_read_back(value: object, escape: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=escape).encode(errors="surrogatepass")) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_to_the_level(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    assert loads(opening * MAX_DEPTH + b"0" + closing * MAX_DEPTH) is not None
    with pytest.raises(json.JSONDecodeError, match="nested deeper than 32"):
        loads(opening * (MAX_DEPTH + 1) + b"0" + closing * (MAX_DEPTH + 1))
    with pytest.raises(json.JSONDecodeError, match="nested deeper than 32"):
        loads(opening * 300_000)


@given(VALUES)
def test_depth_is_counted_as_python_nests(value: object) -> None:
    def depth(part: object) -> int:
        members = (
            part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        )
        inner = max(map(depth, members), default=0)
        return inner + isinstance(part, dict | list)

    padding = MAX_DEPTH - depth(value)
    text = json.dumps(value).encode()
    assert loads(b"[" * padding + text + b"]" * padding) is not None or padding == 0
    with pytest.raises(json.JSONDecodeError, match="nested deeper"):
        loads(b"[" * (padding + 1) + text + b"]" * (padding + 1))


def test_brackets_in_strings_are_no_depth() -> None:
    for text in ("[" * 500, '{"' * 500, "\\" * 99 + '"[' * 99, '\\"[' * 500):
        assert loads(json.dumps({"prompt": text, "more": [text]}).encode())["prompt"] == text


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'[]"', b"\\", b'"\\', b'[]{}":'])
def test_nothing_takes_longer_than_it_is_long(unit: bytes) -> None:
    """Looking at a byte more than once would take minutes here."""
    with pytest.raises(json.JSONDecodeError):
        loads(b"[]" * 20 + b'"' + unit * (500_000 // len(unit)) + b"\\")


@pytest.mark.parametrize(
    "document", [b'{"a":1,"a":2}', b'[{"b":{"a":1,"\\u0061":1}}]', b'{"":1,"":1}']
)
def test_a_member_named_twice_is_refused(document: bytes) -> None:
    with pytest.raises(json.JSONDecodeError, match="names a member twice"):
        loads(document)


def test_only_utf_8_is_read() -> None:
    for encoding in ("utf-16", "utf-32", "latin-1"):
        with pytest.raises(ValueError, match=r"utf-8|Expecting"):
            loads('{"a":"ä"}'.encode(encoding))
    with pytest.raises(ValueError, match="Expecting value"):
        loads(b"\xef\xbb\xbf{}")
