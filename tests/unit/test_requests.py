"""From what callers send to what the router reads; documents, tags and cursors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.decisions.context import modalities_of, text_of, tokens_of_parts
from shared.decisions.recorder import storable
from shared.decisions.tokens import estimate_tokens
from shared.errors import InvalidInputError, PreconditionFailedError, PreconditionRequiredError
from shared.routing.types import LEVELS
from shared.schemas.common import strictly_json
from shared.schemas.policies import PolicyDocument
from shared.web.etag import etag_of, require_match
from shared.web.problems import pointer_into

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
LEVEL = {"quality_value_usd": 0.01, "latency_cost_usd_per_s": 0.0}


class TestTokens:
    @given(st.text(max_size=300), st.text(max_size=300))
    def test_more_text_is_no_fewer_tokens(self, a: str, b: str) -> None:
        assert 1 <= estimate_tokens(a) <= estimate_tokens(a + b)

    @given(st.text(max_size=300))
    def test_the_estimate_stays_below_one_token_a_character(self, text: str) -> None:
        assert estimate_tokens(text) <= max(1, len(text))

    def test_korean_counts_more_than_english(self) -> None:
        assert estimate_tokens("가" * 100) > 3 * estimate_tokens("a" * 100)


class TestMessages:
    def test_text_of_every_message_and_part_in_order(self) -> None:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "One"}, {"type": "image_url"}, {"text": "Two"},
                ],
            },
            {"role": "assistant", "content": None},
            {"role": "tool"},
        ]  # fmt: skip
        assert text_of(messages) == "Be brief.\n\nOne\n\nTwo"
        assert modalities_of(messages) == {"text", "image"}
        assert tokens_of_parts(messages) == 800

    @given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "x"]), JSON), max_size=4))
    def test_nothing_that_a_client_sends_breaks_reading(
        self, messages: list[dict[str, Any]]
    ) -> None:
        assert isinstance(text_of(messages), str)
        assert "text" in modalities_of(messages)
        assert tokens_of_parts(messages) >= 0

    @pytest.mark.parametrize("kind", [["image_url"], {"a": 1}, 7, None])
    def test_a_part_whose_type_is_no_text_is_just_unknown(self, kind: object) -> None:
        messages = [{"role": "user", "content": [{"type": kind, "text": "x"}]}]
        assert modalities_of(messages) == {"text"} and tokens_of_parts(messages) == 0


class TestJson:
    @given(JSON)
    def test_what_is_json_passes_unchanged(self, value: object) -> None:
        assert strictly_json(value) is value
        json.dumps(value, allow_nan=False).encode()

    @pytest.mark.parametrize(
        "bad", [float("nan"), float("inf"), float("-inf"), "\ud800", "a\udfffb"]
    )
    @pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, [x]], lambda x: {"a": {"b": x}}])
    def test_what_no_other_parser_takes_is_refused(self, bad: object, wrap: Any) -> None:
        with pytest.raises(ValueError, match=r"finite|surrogate"):
            strictly_json(wrap(bad))

    def test_names_count_too(self) -> None:
        with pytest.raises(ValueError, match="surrogate"):
            strictly_json({"\ud800": 1})

    @given(JSON)
    def test_what_is_stored_holds_no_nul_and_nothing_else_changes(self, value: Any) -> None:
        stored = storable(value)
        assert "\\u0000" not in json.dumps(stored).replace("\\\\", "")
        if "\\u0000" not in json.dumps(value):
            assert stored == value


class TestPointers:
    @given(JSON)
    def test_a_pointer_to_what_is_there_leads_there(self, value: Any) -> None:
        for location, expected in _places(value):
            pointer = pointer_into(value, location, is_missing=False)
            found = value
            for part in pointer[1:].split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                found = found[int(key)] if isinstance(found, list) else found[key]
            assert found is expected or found == expected

    def test_what_is_no_place_is_left_out_and_what_is_missing_is_named(self) -> None:
        body = {"messages": [{"content": 7}]}
        place: list[str | int] = ["messages", 0, "content", "str"]
        assert pointer_into(body, place, is_missing=False) == "#/messages/0/content"
        place = ["messages", 0, "role"]
        assert pointer_into(body, place, is_missing=True) == "#/messages/0/role"
        assert pointer_into(None, [], is_missing=True) == "#"


def _places(
    value: Any, location: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield location, value
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, member in members:
        yield from _places(member, (*location, key))


class TestEtags:
    @pytest.mark.parametrize("given_tags", ['"3"', "*", '"1", "3"', ' "3" ,"9"'])
    def test_a_match_passes(self, given_tags: str) -> None:
        require_match(given_tags, 3)

    @pytest.mark.parametrize("given_tags", ['"2"', "3", 'W/"3"', "", '"3', "**"])
    def test_anything_else_is_412(self, given_tags: str) -> None:
        with pytest.raises(PreconditionFailedError):
            require_match(given_tags, 3)

    def test_nothing_is_428(self) -> None:
        with pytest.raises(PreconditionRequiredError):
            require_match(None, 3)

    @given(st.integers(0, 10**9), st.integers(0, 10**9))
    def test_tags_differ_as_revisions_do(self, a: int, b: int) -> None:
        assert (etag_of(a) == etag_of(b)) is (a == b)


class TestCursors:
    @pytest.fixture(autouse=True)
    def _keys(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        from shared import secrets
        from shared.config import get_settings

        file = tmp_path / "keys.json"
        file.write_text('{"current": "unit", "previous": ""}')
        monkeypatch.setenv("DATABASE_URL", "postgresql+pg8000://nobody@/nothing")
        monkeypatch.setenv("DAVINCI_SIGNING_KEYS", f"file:{file}")
        get_settings.cache_clear()
        secrets._cache.clear()
        yield
        get_settings.cache_clear()
        secrets._cache.clear()

    @pytest.mark.parametrize("position", ["dec_1", 42, "한국어/\x00", ["a", 1], {"x": None}, ""])
    def test_a_position_survives(self, position: object) -> None:
        from shared.web.pagination import decode_cursor, encode_cursor

        cursor = encode_cursor("things", position)
        assert cursor is not None and cursor.isascii() and "=" not in cursor
        assert decode_cursor("things", cursor) == position

    def test_the_beginning_and_the_end_need_no_cursor(self) -> None:
        from shared.web.pagination import decode_cursor, encode_cursor

        assert (encode_cursor("things", None), decode_cursor("things", None)) == (None, None)

    def test_no_single_bit_can_be_changed(self) -> None:
        from base64 import urlsafe_b64decode, urlsafe_b64encode

        from shared.web.pagination import decode_cursor, encode_cursor

        cursor = encode_cursor("things", "dec_1")
        assert cursor is not None
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        for bit in range(len(raw) * 8):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InvalidInputError):
                decode_cursor("things", urlsafe_b64encode(changed).decode())

    def test_another_lists_cursor_is_refused(self) -> None:
        from shared.web.pagination import decode_cursor, encode_cursor

        with pytest.raises(InvalidInputError):
            decode_cursor("keys", encode_cursor("things", "dec_1"))


class TestPolicyDocuments:
    def test_a_document_becomes_the_routers_policy(self) -> None:
        levels = {name: {**LEVEL, "epsilon": 0.2} for name in LEVELS}
        document = PolicyDocument.model_validate({"levels": levels, "task_levels": {"chat": "L2"}})
        version = uuid4()
        policy = document.to_policy(version, "p", 3)
        assert (policy.id, policy.name, policy.version) == (str(version), "p", 3)
        assert set(policy.levels) == set(LEVELS)
        assert all(
            level.epsilon == 0.2 and level.models is None for level in policy.levels.values()
        )
        assert policy.task_levels == {"chat": "L2"}

    def test_a_stored_document_reads_back_the_same(self) -> None:
        document = PolicyDocument.model_validate({"levels": dict.fromkeys(LEVELS, LEVEL)})
        assert PolicyDocument.model_validate(document.model_dump(mode="json")) == document

    @pytest.mark.parametrize("missing", LEVELS)
    def test_no_level_may_be_left_out(self, missing: str) -> None:
        levels = {name: LEVEL for name in LEVELS if name != missing}
        with pytest.raises(ValidationError, match=missing):
            PolicyDocument.model_validate({"levels": levels})
