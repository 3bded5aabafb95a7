"""What callers say beside a request, in headers or metadata."""

from __future__ import annotations

import pytest

from functions.gateway.errors import InvalidValueError
from functions.gateway.steering import HEADERS, NO_HINTS, Hints, read_hints, without_hints
from shared.routing.types import Constraints

EVERYTHING = {
    "x-davinci-task": "code.review",
    "x-davinci-level": "L4",
    "x-davinci-session": "conversation 7",
    "x-davinci-priority": "high",
    "x-davinci-max-cost-usd": "0.05",
    "x-davinci-max-latency-ms": "2500",
    "x-davinci-models-allowed": "openai/gpt-4o-mini, local/llama",
    "x-davinci-models-denied": "test/large",
    "x-davinci-region": "eu",
    "x-davinci-min-context-tokens": "32000",
    "x-davinci-timeout-s": "7.5",
}
MEANING = Hints(
    task="code.review",
    level="L4",
    session="conversation 7",
    priority="high",
    constraints=Constraints(
        models_allowed=frozenset({"openai/gpt-4o-mini", "local/llama"}),
        models_denied=frozenset({"test/large"}),
        max_cost_usd=0.05,
        max_latency_ms=2500.0,
        region="eu",
        min_context_tokens=32_000,
    ),
    timeout_s=7.5,
)


def as_metadata(headers: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("x-").replace("-", "_"): value for name, value in headers.items()}


def test_every_documented_header_is_read() -> None:
    assert set(EVERYTHING) == set(HEADERS)
    assert read_hints(EVERYTHING, None) == MEANING


def test_metadata_says_the_same() -> None:
    assert read_hints({}, as_metadata(EVERYTHING)) == MEANING


def test_a_header_wins_over_metadata() -> None:
    assert read_hints({"x-davinci-level": "L1"}, {"davinci_level": "L2"}).level == "L1"


def test_nothing_said_is_nothing_meant() -> None:
    assert read_hints({"accept": "*/*"}, {"ticket": "42"}) is NO_HINTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "Not A Slug"), ("task", ""), ("task", "x" * 65),
        ("level", "L5"), ("level", "l1"), ("session", ""), ("session", "x" * 129),
        ("priority", "urgent"), ("max-cost-usd", "0"), ("max-cost-usd", "-1"),
        ("max-cost-usd", "nan"), ("max-cost-usd", "inf"), ("max-cost-usd", "$5"),
        ("max-latency-ms", "soon"), ("models-allowed", ""), ("models-allowed", " , "),
        ("models-denied", ",".join(f"m/{n}" for n in range(201))), ("region", ""),
        ("min-context-tokens", "1.5"), ("min-context-tokens", "0"),
        ("min-context-tokens", "²"), ("timeout-s", "0"), ("timeout-s", "never"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_says_where(name: str, value: str) -> None:
    header, member = f"x-davinci-{name}", "davinci_" + name.replace("-", "_")
    with pytest.raises(InvalidValueError) as of_header:
        read_hints({header: value}, None)
    assert of_header.value.errors[0].pointer == f"header:{header}"
    assert header in of_header.value.detail
    with pytest.raises(InvalidValueError) as of_member:
        read_hints({}, {member: value})
    assert of_member.value.errors[0].pointer == f"#/metadata/{member}"


def test_a_provider_gets_the_callers_metadata_and_none_of_ours() -> None:
    assert without_hints({"davinci_level": "L1", "davinci_x": "y", "team": "a"}) == {"team": "a"}
