"""P(level) of a prompt from its text features, without calling any model.

The shipped topic classifier gives P(topic), each topic belongs to a level, and a few marks that
no benchmark of questions contains (greetings, wishes, requests to write or to fix code, Korean
text) move the odds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

from shared.routing.arrays import FloatArray
from shared.routing.handmade import HAND_MADE, N_HAND_MADE
from shared.routing.topics import TOPIC_LEVELS, topic_probabilities
from shared.routing.types import LEVELS, Context, Level, RoutingPolicy

LevelSource = Literal["caller", "task", "classifier", "default"]

# Log-odds per unit of a feature, on top of the topics. Public question sets hold neither small
# talk nor letters to write, so these are set by hand.
_MARKS: Final[Mapping[Level, Mapping[str, float]]] = {
    "L1": {"log_bytes": -0.4, "chat_words": -1.0, "creation_words": -1.0},
    "L2": {"chat_words": 2.4, "maths_marks": -1.0, "code_marks": -1.0, "hangul_share": 0.5},
    "L3": {"maths_marks": 0.3, "reasoning_words": 0.4},
    "L4": {"creation_words": 1.0, "code_marks": 0.4, "code_fence": 1.0},
}
_LEAST: Final = 0.01


def level_probabilities(text_part: FloatArray) -> dict[Level, float]:
    """Return P(level) for text features of shape ``(N_TEXT_FEATURES,)`` or longer; sums to 1."""
    by_level = dict.fromkeys(LEVELS, _LEAST)
    topics = topic_probabilities(text_part).tolist()
    for level, p in zip(TOPIC_LEVELS.values(), topics, strict=True):
        by_level[level] += p
    marks = text_part[:N_HAND_MADE].tolist()
    odds = {
        level: by_level[level] * math.exp(sum(w * marks[place] for place, w in _MARKS_AT[level]))
        for level in LEVELS
    }
    total = math.fsum(odds.values())
    return {level: value / total for level, value in odds.items()}


_MARKS_AT: Final = {
    level: [(HAND_MADE.index(name), weight) for name, weight in marks.items()]
    for level, marks in _MARKS.items()
}


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
