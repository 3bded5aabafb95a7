"""Which route wins."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.routes import RouteTable
from infra.local.system import Route


def table(*keys: str) -> RouteTable:
    pairs = [("ANY", key) if key == "$default" else tuple(key.split(" ")) for key in keys]
    return RouteTable([Route(method=m, path=p, function=f"{m} {p}") for m, p in pairs])


def route_key(routes: RouteTable, method: str, path: str) -> str | None:
    match = routes.match(method, path)
    return match.route.key if match else None


PETS = (
    "ANY /{proxy+}",
    "GET /pets/{proxy+}",
    "GET /pets/{id}",
    "GET /pets/dog/1",
    "ANY /pets/dog/1",
    "POST /pets/{id}/toys",
    "ANY /pets/{id}/toys",
    "GET /pets/{id}/toys/{toy}",
)


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "/pets/dog/1", "GET /pets/dog/1"),
        ("POST", "/pets/dog/1", "ANY /pets/dog/1"),
        ("GET", "/pets/dog", "GET /pets/{id}"),
        ("POST", "/pets/dog", "ANY /{proxy+}"),
        ("GET", "/pets/cat/1/2", "GET /pets/{proxy+}"),
        ("POST", "/pets/cat/toys", "POST /pets/{id}/toys"),
        ("PUT", "/pets/cat/toys", "ANY /pets/{id}/toys"),
        ("GET", "/pets/cat/toys", "ANY /pets/{id}/toys"),
        ("GET", "/pets/cat/toys/ball", "GET /pets/{id}/toys/{toy}"),
        ("POST", "/test/5", "ANY /{proxy+}"),
        ("GET", "/", None),
        ("GET", "/pets/", "ANY /{proxy+}"),
    ],
)
def test_most_specific_route_wins(method: str, path: str, key: str | None) -> None:
    assert route_key(table(*PETS), method, path) == key


def test_default_route_takes_what_is_left() -> None:
    routes = table("GET /a", "$default")
    assert route_key(routes, "GET", "/a") == "GET /a"
    assert route_key(routes, "POST", "/a") == "$default"
    assert route_key(routes, "GET", "/") == "$default"


def test_variables_are_given_by_name() -> None:
    routes = table("GET /a/{policy-id}/b/{rest+}", "GET /m/{model_id+}")
    match = routes.match("GET", "/a/x y/b/c/d")
    assert match
    assert match.parameters == {"policy-id": "x y", "rest": "c/d"}
    match = routes.match("GET", "/m/openai/gpt-4o")
    assert match
    assert match.parameters == {"model_id": "openai/gpt-4o"}


def test_variable_never_spans_a_slash_and_fixed_text_is_literal() -> None:
    routes = table("GET /a/{id}", "GET /b.c/{id}")
    assert routes.match("GET", "/a/b/c") is None
    assert routes.match("GET", "/bxc/1") is None


@given(seed=st.integers(0, 2**32), path=st.sampled_from(
    ["/pets", "/pets/dog", "/pets/dog/1", "/pets/cat/toys", "/pets/cat/toys/ball", "/x/y"]
), method=st.sampled_from(["GET", "POST", "PUT"]))  # fmt: skip
def test_order_of_declaration_does_not_matter(seed: int, path: str, method: str) -> None:
    shuffled = list(PETS)
    random.Random(seed).shuffle(shuffled)
    assert route_key(table(*shuffled), method, path) == route_key(table(*PETS), method, path)
