"""Prices, and what stands in for one that nobody knows. An unknown price is never 0."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from shared.routing.types import ModelCard


class Price(NamedTuple):
    """USD per million tokens; ``known`` is False where a stand-in is used."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    known: bool

    def cost_usd(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost of one request in USD."""
        return (tokens_in * self.input_usd_per_mtok + tokens_out * self.output_usd_per_mtok) / 1e6


class Prices(dict[str, Price]):
    """Prices by model id."""

    @functools.cached_property
    def classes(self) -> tuple[tuple[str, float], ...]:
        """Every model with what its price class is expected to be worth."""
        return tuple((model, price_class_offset(price)) for model, price in self.items())


# Stand-in where no served model has a known price: the middle of what is on sale.
_DEFAULT_IN = 1.0
_DEFAULT_OUT = 4.0

# Upper limits of the price classes in USD per million tokens (one part output, three input),
# and how much better than the average model a model of the class is expected to be before any
# evidence. Deliberately small: it orders models that nobody has seen, and a few dozen
# observations overrule it.
_CLASSES: tuple[tuple[float, float], ...] = (
    (0.15, -0.06),
    (0.5, -0.03),
    (2.0, 0.0),
    (8.0, 0.03),
    (math.inf, 0.05),
)


def prices_of(models: Sequence[ModelCard]) -> Prices:
    """Return the price of every model; unknown parts are the geometric mean of the known ones."""
    return _prices_of(tuple(models))


@functools.lru_cache(maxsize=64)  # the same cards serve many decisions
def _prices_of(models: tuple[ModelCard, ...]) -> Prices:
    stand_in_in = _typical([m.input_usd_per_mtok for m in models], _DEFAULT_IN)
    stand_in_out = _typical([m.output_usd_per_mtok for m in models], _DEFAULT_OUT)
    return Prices(
        (
            m.id,
            Price(
                stand_in_in if m.input_usd_per_mtok is None else m.input_usd_per_mtok,
                stand_in_out if m.output_usd_per_mtok is None else m.output_usd_per_mtok,
                m.input_usd_per_mtok is not None and m.output_usd_per_mtok is not None,
            ),
        )
        for m in models
    )


def price_class_offset(price: Price) -> float:
    """Return the expected quality of a price class relative to the average model."""
    if not price.known:
        return 0.0
    blended = (3.0 * price.input_usd_per_mtok + price.output_usd_per_mtok) / 4.0
    return next(offset for limit, offset in _CLASSES if blended < limit)


def _typical(values: Sequence[float | None], default: float) -> float:
    # A price of 0 is a known price (a model at home) but says nothing about a stranger's.
    known = sorted(v for v in values if v is not None and v > 0)
    if not known:
        return default
    return math.exp(math.fsum(math.log(v) for v in known) / len(known))
