"""EventBridge's event patterns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.intrinsics import TemplateError
from infra.local.patterns import compile_pattern

EVENT = {
    "source": "davinci.neural",
    "detail-type": "OutcomeRecorded",
    "resources": ["a", "b"],
    "detail": {
        "level": "L3", "cost_usd": 0.25, "tokens": 100, "ok": True, "error": None, "name": "",
        "model": {"id": "openai/gpt-4o"}, "tags": [], "codes": [1, "x"],
        "tries": [{"status": 500, "ms": 10}, {"status": 200, "ms": 90}],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({"source": ["davinci.neural"]}, True),
        ({"source": ["other", "davinci.neural"]}, True),
        ({"source": ["other"]}, False),
        ({"source": ["davinci.neural"], "detail-type": ["Other"]}, False),
        ({"source": [{"prefix": "davinci."}]}, True),
        ({"source": [{"prefix": "neural"}]}, False),
        ({"source": [{"prefix": {"equals-ignore-case": "DAVINCI."}}]}, True),
        ({"source": [{"suffix": ".neural"}]}, True),
        ({"source": [{"suffix": "davinci"}]}, False),
        ({"source": [{"equals-ignore-case": "DAVINCI.Neural"}]}, True),
        ({"detail": {"level": [{"anything-but": "L1"}]}}, True),
        ({"detail": {"level": [{"anything-but": ["L1", "L3"]}]}}, False),
        ({"detail": {"level": [{"anything-but": {"prefix": "L"}}]}}, False),
        ({"detail": {"level": [{"anything-but": {"suffix": ["1", "2"]}}]}}, True),
        ({"detail": {"level": [{"anything-but": {"equals-ignore-case": "l3"}}]}}, False),
        ({"detail": {"absent": [{"anything-but": "x"}]}}, False),
        ({"detail": {"absent": [{"exists": False}]}}, True),
        ({"detail": {"level": [{"exists": True}]}}, True),
        ({"detail": {"level": [{"exists": False}]}}, False),
        ({"detail": {"error": [{"exists": True}]}}, True),
        ({"detail": {"model": [{"exists": True}]}}, False),
        ({"detail": {"tags": [{"exists": True}]}}, False),
        ({"absent": {"deep": [{"exists": False}]}}, True),
        ({"detail": {"error": [None]}}, True),
        ({"detail": {"absent": [None]}}, False),
        ({"detail": {"name": [""]}}, True),
        ({"detail": {"tokens": [100.0]}}, True),
        ({"detail": {"tokens": ["100"]}}, False),
        ({"detail": {"ok": [True]}}, True),
        ({"detail": {"ok": [1]}}, False),
        ({"detail": {"cost_usd": [{"numeric": [">", 0, "<=", 0.25]}]}}, True),
        ({"detail": {"cost_usd": [{"numeric": ["<", 0.25]}]}}, False),
        ({"detail": {"tokens": [{"numeric": ["=", 100]}]}}, True),
        ({"detail": {"level": [{"numeric": [">", 0]}]}}, False),
        ({"detail": {"ok": [{"numeric": ["=", 1]}]}}, False),
        ({"resources": ["b"]}, True),
        ({"resources": ["c", {"prefix": "b"}]}, True),
        ({"detail": {"codes": [1]}}, True),
        ({"detail": {"model": {"id": [{"prefix": "openai/"}]}}}, True),
        ({"detail": {"model": {"id": ["x"]}}}, False),
        ({"detail": {"tries": {"status": [500], "ms": [10]}}}, True),
        ({"detail": {"tries": {"status": [500], "ms": [90]}}}, False),
        ({"$or": [{"source": ["x"]}, {"detail": {"level": ["L3"]}}]}, True),
        ({"$or": [{"source": ["x"]}, {"detail": {"level": ["L1"]}}]}, False),
        ({"detail": {"$or": [{"level": ["L1"]}, {"tokens": [100]}]}}, True),
        ({"source": ["x"], "$or": [{"detail-type": ["OutcomeRecorded"]}]}, False),
    ],
)
def test_pattern(pattern: dict[str, Any], matches: bool) -> None:
    assert compile_pattern(pattern)(EVENT) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"source": "text"},
        {"source": {}},
        {"source": [{"wildcard": "a*"}]},
        {"detail": {"ip": [{"cidr": "10.0.0.0/8"}]}},
        {"source": [{"prefix": "a", "suffix": "b"}]},
    ],
)
def test_pattern_that_is_not_understood_is_an_error(pattern: dict[str, Any]) -> None:
    with pytest.raises(TemplateError):
        compile_pattern(pattern)


leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
documents = st.dictionaries(st.sampled_from("xyz"), leaves, min_size=1)


@given(documents)
def test_document_matches_the_pattern_of_its_own_values(document: dict[str, Any]) -> None:
    assert compile_pattern({key: [value] for key, value in document.items()})(document)


@given(documents, leaves)
def test_anything_but_is_the_opposite_for_a_value_that_is_there(
    document: dict[str, Any], value: Any
) -> None:
    key = next(iter(document))
    equal = compile_pattern({key: [value]})(document)
    assert compile_pattern({key: [{"anything-but": [value]}]})(document) is not equal
