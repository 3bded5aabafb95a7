"""What has been learned of each model, as sums that can be added in any order.

The state is a table of cells (level, task, model), each holding counts and fixed-point sums as
integers. Integer addition commutes exactly, so folding a log in any order, in any batches, or
again from zero gives the identical state; a late feedback is simply added when it comes.

Prediction shrinks each cell towards its parents: (level, task, model) -> (level, model) ->
(model) -> price class -> everything. Under-shrunk learners choose worse than one fixed model, so
a parent weighs as much as a dozen observations of the cell.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from shared.routing.observations import FeedbackObservation, Observation, OutcomeObservation
from shared.routing.prices import Price, price_class_offset, prices_of
from shared.routing.types import LEVELS, Level, ModelCard

__all__ = [
    "FeedbackObservation",
    "LearnerState",
    "Observation",
    "OutcomeObservation",
    "Prediction",
]

_FORMAT: Final = 1
_ONE: Final = 1 << 20  # fixed point of qualities: about 1e-6

# Distinct task tags kept per level. Callers choose tags freely, and the state must not grow with
# them: beyond the limit the tags with the smallest checksums stay (a rule that no order of
# arrival can change) and the rest is learned without a tag.
MAX_TASKS_PER_LEVEL: Final = 256

# Weight of a parent, in observations of the child.
_PRIOR_GLOBAL: Final = 4.0
_PRIOR_MODEL: Final = 10.0
_PRIOR_LEVEL: Final = 15.0
_PRIOR_TASK: Final = 12.0
_PRIOR_SERVING: Final = 5.0
_PRIOR_SUCCESS: Final = 50.0

_QUALITY_BEFORE_EVIDENCE: Final = 0.65
_LATENCY_MS_BEFORE_EVIDENCE: Final = 1500.0
_TOKENS_OUT_BEFORE_EVIDENCE: Final = 250.0
_SUCCESS_BEFORE_EVIDENCE: Final = 0.995

# Positions in a cell.
_N_QUALITY, _QUALITY, _QUALITY2 = 0, 1, 2
_N_LATENCY, _LATENCY_US, _LATENCY2_MS2 = 3, 4, 5
_N_TOKENS, _TOKENS, _TOKENS2 = 6, 7, 8
_N_SERVED, _N_SUCCEEDED = 9, 10
_N_COST, _COST_NANO = 11, 12
_WIDTH: Final = 13

Cell = tuple[int, ...]
Key = tuple[Level, str, str]
_EMPTY: Final[Cell] = (0,) * _WIDTH


class Prediction(NamedTuple):
    """What is expected of one model for one request.

    Attributes
    ----------
    quality, quality_sd
        Expected quality in [0, 1] (a failed request has quality 0) and the standard deviation of
        the *expectation*, not of a single answer.
    quality_level
        The same for the average request of the level: what a fixed model is judged by.
    tokens_out, tokens_out_sd
        Expected length of the answer; the deviation is that of a single answer.
    cost_usd, cost_sd
        From tokens and price.
    latency_ms, latency_sd
        Expected wall time and the deviation of a single answer.
    n
        Feedbacks behind ``quality`` at this level.
    price_known
        False where the price of the price class stands in.
    """

    model: str
    quality: float
    quality_sd: float
    quality_level: float
    tokens_out: float
    tokens_out_sd: float
    cost_usd: float
    cost_sd: float
    latency_ms: float
    latency_sd: float
    n: float
    price_known: bool


@dataclass(frozen=True)
class LearnerState:
    """Additive sufficient statistics of every (level, task, model); immutable."""

    cells: Mapping[Key, Cell] = field(default_factory=dict)
    n_updates: int = 0

    @classmethod
    def empty(cls) -> LearnerState:
        """Return the state that has seen nothing."""
        return cls()

    def fold(self, observations: Iterable[Observation]) -> LearnerState:
        """Return the state after ``observations``, in whatever order they come.

        ``empty().fold(a).fold(b) == empty().fold(b + a)`` holds exactly.
        """
        cells = dict(self.cells)
        n = self.n_updates
        for observation in observations:
            key = (observation.level, observation.task_type or "", observation.model)
            old = cells.get(key, _EMPTY)
            cells[key] = tuple(a + b for a, b in zip(old, _as_cell(observation), strict=True))
            n += 1
        return LearnerState(_within_limits(cells), n)

    def predict(
        self,
        features: Sequence[float],
        *,
        level: Level,
        task_type: str | None,
        tokens_in: int,
        max_tokens_out: int | None,
        models: Sequence[ModelCard],
        prices: Mapping[str, Price] | None = None,
    ) -> tuple[Prediction, ...]:
        """Predict quality, cost and latency of each model for one request.

        Parameters
        ----------
        features
            The decision's feature vector (see ``shared.routing.features``).
        level, task_type
            A task never seen at the level counts as no task.
        tokens_in
            Tokens of the prompt; max_tokens_out caps the predicted length.
        models
            Whom to predict; the result has their order. A model never seen starts from its price
            class.
        prices
            Prices with stand-ins, where the caller has them already.

        Returns
        -------
        tuple of Prediction
        """
        del features  # the table learns by level and task only
        prices = prices_of(models) if prices is None else prices
        return tuple(
            self._predict_one(m, level, task_type or "", tokens_in, max_tokens_out, prices[m.id])
            for m in models
        )

    def _predict_one(
        self,
        card: ModelCard,
        level: Level,
        task: str,
        tokens_in: int,
        max_tokens_out: int | None,
        price: Price,
    ) -> Prediction:
        sums = self._sums
        of_all = sums.get(("", "", ""), _EMPTY)
        of_model = sums.get(("", "", card.id), _EMPTY)
        of_level = sums.get((level, "", card.id), _EMPTY)
        of_task = self.cells.get((level, task, card.id), _EMPTY) if task else _EMPTY

        base = _shrunk(
            of_all[_QUALITY] / _ONE, of_all[_N_QUALITY], _QUALITY_BEFORE_EVIDENCE, _PRIOR_GLOBAL
        )
        prior = min(0.99, max(0.01, base + price_class_offset(price)))
        q_model = _shrunk(of_model[_QUALITY] / _ONE, of_model[_N_QUALITY], prior, _PRIOR_MODEL)
        q_level = _shrunk(of_level[_QUALITY] / _ONE, of_level[_N_QUALITY], q_model, _PRIOR_LEVEL)
        quality = _shrunk(of_task[_QUALITY] / _ONE, of_task[_N_QUALITY], q_level, _PRIOR_TASK)

        # What is known grows with each layer; a layer above counts up to its weight below.
        known = min(_PRIOR_MODEL, of_all[_N_QUALITY] / 10.0) + of_model[_N_QUALITY]
        known = min(_PRIOR_LEVEL, known) + of_level[_N_QUALITY]
        if task:
            known = min(_PRIOR_TASK, known) + of_task[_N_QUALITY]
        variance = max(0.05, quality * (1.0 - quality)) / (known + 1.0)

        success = _shrunk(
            of_level[_N_SUCCEEDED], of_level[_N_SERVED], _SUCCESS_BEFORE_EVIDENCE, _PRIOR_SUCCESS
        )
        tokens, tokens_sd = self._tokens(of_model, of_level, of_task)
        caps = [c for c in (max_tokens_out, card.max_tokens_out) if c is not None]
        tokens = min(tokens, *caps) if caps else tokens
        latency, latency_sd = self._latency(of_model, of_level, of_task)
        cost = price.cost_usd(tokens_in, tokens)
        if not price.known:  # what was billed so far says more than a stand-in
            for cell in (of_model, of_level, of_task):
                cost = _shrunk(cell[_COST_NANO] / 1e9, cell[_N_COST], cost, _PRIOR_SERVING)
        return Prediction(
            model=card.id,
            quality=quality * success,
            quality_sd=math.sqrt(variance),
            quality_level=q_level * success,
            tokens_out=tokens,
            tokens_out_sd=tokens_sd,
            cost_usd=cost,
            cost_sd=price.cost_usd(0, tokens_sd),
            latency_ms=latency,
            latency_sd=latency_sd,
            n=of_level[_N_QUALITY],
            price_known=price.known,
        )

    def _tokens(self, *layers: Cell) -> tuple[float, float]:
        mean, square = _TOKENS_OUT_BEFORE_EVIDENCE, 2.0 * _TOKENS_OUT_BEFORE_EVIDENCE**2
        for cell in layers:
            mean = _shrunk(cell[_TOKENS], cell[_N_TOKENS], mean, _PRIOR_SERVING)
            square = _shrunk(cell[_TOKENS2], cell[_N_TOKENS], square, _PRIOR_SERVING)
        return mean, math.sqrt(max(0.0, square - mean * mean))

    def _latency(self, *layers: Cell) -> tuple[float, float]:
        mean, square = _LATENCY_MS_BEFORE_EVIDENCE, 2.0 * _LATENCY_MS_BEFORE_EVIDENCE**2
        for cell in layers:
            mean = _shrunk(cell[_LATENCY_US] / 1000.0, cell[_N_LATENCY], mean, _PRIOR_SERVING)
            square = _shrunk(cell[_LATENCY2_MS2], cell[_N_LATENCY], square, _PRIOR_SERVING)
        return mean, math.sqrt(max(0.0, square - mean * mean))

    @cached_property
    def _sums(self) -> dict[tuple[str, str, str], Cell]:
        """Cells added up over tasks (level, "", model), levels ("", "", model) and models."""
        sums: dict[tuple[str, str, str], Cell] = {}
        for (level, _, model), cell in self.cells.items():
            for key in ((level, "", model), ("", "", model), ("", "", "")):
                old = sums.get(key, _EMPTY)
                sums[key] = tuple(a + b for a, b in zip(old, cell, strict=True))
        return sums

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; ``from_json`` gives back an equal state."""
        rows = [[*key, *cell] for key, cell in sorted(self.cells.items())]
        return {"format": _FORMAT, "n_updates": self.n_updates, "cells": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LearnerState:
        """Read what ``to_json`` wrote.

        Raises
        ------
        ValueError
            If the format is not one that this version can read.
        """
        if data.get("format") != _FORMAT:
            raise ValueError(f"learner state of format {data.get('format')!r} cannot be read")
        cells: dict[Key, Cell] = {}
        for level, task, model, *values in data["cells"]:
            if level not in LEVELS or len(values) != _WIDTH:
                raise ValueError(f"learner state holds a broken cell for {level}/{task}/{model}")
            cells[(level, task, model)] = tuple(int(value) for value in values)
        return cls(cells, int(data["n_updates"]))


def _as_cell(observation: Observation) -> Cell:
    if isinstance(observation, FeedbackObservation):
        quality = round(observation.quality * _ONE)
        return (1, quality, round(observation.quality**2 * _ONE), *(0,) * (_WIDTH - 3))
    if not observation.success:
        return (*(0,) * _N_SERVED, 1, *(0,) * (_WIDTH - _N_SERVED - 1))
    latency, tokens = observation.latency_ms, observation.tokens_out
    cost = observation.cost_usd
    return (
        *(0, 0, 0),
        *((0, 0, 0) if latency is None else (1, round(latency * 1000), round(latency**2))),
        *((0, 0, 0) if tokens is None else (1, tokens, tokens * tokens)),
        *(1, 1),
        *((0, 0) if cost is None else (1, round(cost * 1e9))),
    )


def _shrunk(total: float, n: float, prior: float, weight: float) -> float:
    """Return the mean of ``n`` values summing to ``total`` and ``weight`` values of ``prior``."""
    return (total + weight * prior) / (n + weight)


def _within_limits(cells: dict[Key, Cell]) -> dict[Key, Cell]:
    """Move the tasks beyond the limit of each level to the cell without a task."""
    tasks: dict[Level, set[str]] = {}
    for level, task, _ in cells:
        if task:
            tasks.setdefault(level, set()).add(task)
    for level, names in tasks.items():
        if len(names) <= MAX_TASKS_PER_LEVEL:
            continue
        ranked = sorted(names, key=lambda name: (zlib.crc32(name.encode("utf-8", "replace")), name))
        dropped = set(ranked[MAX_TASKS_PER_LEVEL:])
        for key in [key for key in cells if key[0] == level and key[1] in dropped]:
            target = (level, "", key[2])
            old = cells.get(target, _EMPTY)
            cells[target] = tuple(a + b for a, b in zip(old, cells.pop(key), strict=True))
    return cells
