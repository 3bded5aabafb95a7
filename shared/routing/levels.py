"""P(level) of a prompt from its text features, without calling any model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

from shared.routing.features import HAND_MADE, FloatArray
from shared.routing.types import LEVELS, Context, Level, RoutingPolicy

LevelSource = Literal["caller", "task", "classifier", "default"]

# Log-odds per unit of a feature; a feature that is not named does not count.
_WEIGHTS: Final[Mapping[Level, Mapping[str, float]]] = {
    "L1": {
        "constant": 4.2,
        "log_bytes": -2.6,
        "opens_with_question_word": 1.2,
        "question_marks": 0.4,
        "maths_marks": -1.2,
        "code_marks": -1.0,
        "reasoning_words": -0.8,
        "creation_words": -1.6,
        "chat_words": -0.7,
        "digit_share": -1.0,
    },
    "L2": {
        "constant": 1.0,
        "log_bytes": -0.6,
        "chat_words": 1.4,
        "code_marks": -1.0,
        "maths_marks": -0.8,
        "creation_words": -0.6,
        "hangul_share": 0.3,
    },
    "L3": {
        "constant": -1.0,
        "log_bytes": 0.5,
        "maths_marks": 1.2,
        "choice_options": 0.8,
        "reasoning_words": 0.9,
        "digit_share": 0.8,
        "opens_with_question_word": 0.2,
    },
    "L4": {
        "constant": -1.2,
        "log_bytes": 0.3,
        "creation_words": 1.8,
        "code_marks": 0.9,
        "code_fence": 1.2,
        "structure_marks": 0.4,
        "opens_with_question_word": -0.6,
    },
}


def level_probabilities(text_part: FloatArray) -> dict[Level, float]:
    """Return P(level) for text features of shape ``(N_TEXT_FEATURES,)`` or longer; sums to 1."""
    scores = {
        level: sum(
            weight * float(text_part[HAND_MADE.index(name)])
            for name, weight in _WEIGHTS[level].items()
        )
        for level in LEVELS
    }
    top = max(scores.values())
    odds = {level: math.exp(score - top) for level, score in scores.items()}
    total = math.fsum(odds.values())
    return {level: value / total for level, value in odds.items()}


def choose_level(
    context: Context, policy: RoutingPolicy, text_part: FloatArray
) -> tuple[Level, float, LevelSource]:
    """Decide the level: the caller's, else the task's by policy, else the classifier's.

    Returns
    -------
    level, confidence, source
        ``confidence`` is 1 where somebody said so, else P(most likely level); below the policy's
        ``min_level_confidence`` the policy's default level is taken.
    """
    if context.level is not None:
        return context.level, 1.0, "caller"
    if context.task_type is not None and context.task_type in policy.task_levels:
        return policy.task_levels[context.task_type], 1.0, "task"
    probabilities = level_probabilities(text_part)
    likely = max(LEVELS, key=lambda level: probabilities[level])
    confidence = probabilities[likely]
    if confidence < policy.min_level_confidence:
        return policy.default_level, confidence, "default"
    return likely, confidence, "classifier"
