"""What a request may ask for."""

from __future__ import annotations

import pytest

from shared.errors import InvalidInputError
from shared.web.negotiation import (
    NotAcceptableError,
    choose_media_type,
    refuse_repeated_parameters,
    refuse_unknown_parameters,
)

JSON, CSV = "application/json", "text/csv"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("Application/JSON", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("text/csv, application/json", JSON),  # equals: ours first
        ("text/csv;q=0.9, application/json;q=0.8", CSV),
        ("application/json; q=0.1, text/csv; q=0.099", JSON),
        ("*/*;q=0.1, text/csv", CSV),
        # The most specific range counts, not the best one.
        ("*/*, application/json;q=0", CSV),
        ("application/json;q=0.2, */*;q=0.9", CSV),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/json;charset=utf-8", JSON),
        ("application/json;version=1;q=0.5, text/csv;q=0.6", CSV),
        # Nonsense says nothing.
        ("nonsense", JSON),
        ("*/csv", CSV),
        (", ,", JSON),
        ("text/csv;q=2", CSV),
    ],
)
def test_the_best_offer_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose_media_type(accept, [JSON, CSV]) == chosen


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/json;q=0", "*/*;q=0", "application/xml, text/html;q=0.5",
     "application/json;q=0.000, text/*;q=0"],
)  # fmt: skip
def test_no_offer_is_a_406_that_names_them(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="application/json or text/csv") as caught:
        choose_media_type(accept, [JSON, CSV])
    assert caught.value.status == 406


def test_unknown_parameters_are_named_with_the_nearest_known_one() -> None:
    known = {"limit", "cursor", "level"}
    refuse_unknown_parameters([], known)
    refuse_unknown_parameters(["limit", "level"], known)
    with pytest.raises(InvalidInputError) as caught:
        refuse_unknown_parameters(["limt", "limit", "zzz"], known)
    assert [(e.pointer, e.detail) for e in caught.value.errors] == [
        ("?limt", "unknown parameter; did you mean 'limit'?"),
        ("?zzz", "unknown parameter; known: cursor, level, limit"),
    ]


def test_a_parameter_comes_once_unless_it_is_a_list() -> None:
    refuse_repeated_parameters(["limit", "types", "types"], {"types"})
    with pytest.raises(InvalidInputError) as caught:
        refuse_repeated_parameters(["to", "limit", "to", "limit", "to"], {"types"})
    assert [e.pointer for e in caught.value.errors] == ["?limit", "?to"]
