"""Money is whole nano-dollars, and bounds are bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.types import ModelCard
from shared.spending.money import MOST_NUSD, bound_nusd, price_nusd, to_nusd, to_usd

prices = st.floats(0, 1_000_000, allow_nan=False)
tokens = st.integers(0, 10_000_000)


def card(price_in: float | None = 0.2, price_out: float | None = 2.0) -> ModelCard:
    return ModelCard("m", price_in, price_out, context_tokens=8_000)


def test_a_token_costs_thousandths_of_its_price_per_million() -> None:
    assert price_nusd(card(0.2, 2.0), 10, 20) == 10 * 200 + 20 * 2_000


@pytest.mark.parametrize("unknown", [(None, 1.0), (1.0, None), (None, None)])
def test_an_unknown_price_is_none_never_zero(unknown: tuple[float | None, float | None]) -> None:
    assert price_nusd(card(*unknown), 10, 20) is None
    assert bound_nusd([card(), card(*unknown)], 10, [20, 20]) is None


@given(prices, prices, tokens, tokens, st.floats(0, 1), st.floats(0, 1))
def test_no_call_costs_more_than_its_bound(
    price_in: float, price_out: float, most_in: int, most_out: int, share_in: float,
    share_out: float,
) -> None:  # fmt: skip
    model = card(price_in, price_out)
    bound = bound_nusd([model], most_in, [most_out])
    cost = price_nusd(model, int(most_in * share_in), int(most_out * share_out))
    assert bound is not None and cost is not None
    assert 0 <= cost <= bound


def test_the_bound_is_that_of_the_dearest_fallback() -> None:
    assert bound_nusd([card(0.2, 0.2), card(2.0, 2.0)], 10, [10, 1]) == 2_000 * 11


def test_limits_beyond_what_the_database_holds_are_cut() -> None:
    assert to_nusd(1e300) == MOST_NUSD
    assert to_usd(to_nusd(0.1)) == 0.1
