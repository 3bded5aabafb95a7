"""Money as whole nano-dollars. Pure.

A token of a model at $0.20 per million costs 200 of them: prices come out whole, sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from shared.routing.types import ModelCard

NUSD_PER_USD = 1_000_000_000
_NUSD_PER_TOKEN = 1_000.0  # of one dollar per million tokens
# Beyond this PostgreSQL's bigint would not hold a sum of a million of them: $9 million.
MOST_NUSD = 9_000_000 * NUSD_PER_USD


def price_nusd(card: ModelCard, tokens_in: int, tokens_out: int) -> int | None:
    """Return what a call costs; None, never 0, where a price is unknown."""
    exact = _exact(card, tokens_in, tokens_out)
    return None if exact is None else round(exact)


def bound_nusd(cards: Iterable[ModelCard], tokens_in: int, tokens_out: Iterable[int]) -> int | None:
    """Return the most that one call to any of ``cards`` costs; None where a price is unknown.

    ``tokens_in`` is the most that the prompt can be, ``tokens_out`` the most per card.
    """
    most = 0.0
    for card, limit in zip(cards, tokens_out, strict=True):
        exact = _exact(card, tokens_in, limit)
        if exact is None:
            return None
        most = max(most, exact)
    return math.ceil(most)


def to_nusd(usd: float) -> int:
    """Return a limit in nano-dollars, at most ``MOST_NUSD``."""
    return min(round(min(usd, 1e9) * NUSD_PER_USD), MOST_NUSD)


def to_usd(nusd: int) -> float:
    """Return nano-dollars as dollars."""
    return nusd / NUSD_PER_USD


def _exact(card: ModelCard, tokens_in: int, tokens_out: int) -> float | None:
    if card.input_usd_per_mtok is None or card.output_usd_per_mtok is None:
        return None
    exact = _NUSD_PER_TOKEN * (
        tokens_in * card.input_usd_per_mtok + tokens_out * card.output_usd_per_mtok
    )
    return min(exact, float(MOST_NUSD))
