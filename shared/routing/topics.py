"""What a prompt is about when its caller does not say: a small shipped classifier.

Nearly all that routing gains is gained per task. Requests without a task tag are therefore given
one: the most likely of ``TOPICS``, by a linear discriminant on the text features that was fitted
offline on public prompts of known task. A topic is recomputable from a decision's features.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from shared.routing.arrays import FloatArray
from shared.routing.features import N_TEXT_FEATURES
from shared.routing.ngrams import DATA_FILE
from shared.routing.types import Level

TOPIC_LEVELS: Final[Mapping[str, Level]] = {
    "trivia_qa": "L1",
    "natural_qa": "L1",
    "openbook_qa": "L1",
    "commonsense_qa": "L2",
    "arc_challenge": "L3",
    "mmlu": "L3",
    "gsm8k": "L3",
    "math": "L3",
    "gpqa": "L3",
    "agentverse-mgsm": "L3",
    "agentverse-logicgrid": "L3",
    "crux": "L4",
    "mbpp": "L4",
    "human_eval": "L4",
    "commongen": "L4",
}
TOPICS: Final[tuple[str, ...]] = tuple(TOPIC_LEVELS)


class TextModel(NamedTuple):
    """Scaling of the text features to unit variance, and the discriminant over ``TOPICS``."""

    mean: FloatArray
    spread: FloatArray
    weights: FloatArray
    bias: FloatArray


@functools.cache
def text_model() -> TextModel:
    """Return the shipped classifier."""
    with np.load(DATA_FILE, allow_pickle=False) as data:
        return TextModel(data["mean"], data["spread"], data["topic_weights"], data["topic_bias"])


def forget_model() -> None:
    """Read the shipped file again at the next use (after it has been fitted anew)."""
    text_model.cache_clear()


def scaled_text(features: FloatArray) -> FloatArray:
    """Scale text features (..., >= N_TEXT_FEATURES) to unit variance over public prompts."""
    model = text_model()
    return (features[..., :N_TEXT_FEATURES] - model.mean) / model.spread


def topic_probabilities(features: FloatArray) -> FloatArray:
    """Return P(topic) in the order of ``TOPICS``, shape (..., n_topics); sums to 1."""
    model = text_model()
    # Rounded so that the last bit of a matrix product, which differs between processors, cannot
    # tip a decision.
    logits = (scaled_text(features) @ model.weights + model.bias).round(9) * _TEMPERATURE
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: FloatArray = odds / odds.sum(axis=-1, keepdims=True)
    return result


# The discriminant is over-confident, as its features are far from normal.
_TEMPERATURE: Final = 0.5
