"""The policies that a new deployment starts with: three answers to "what is an answer worth?".

The dollar figures say what a right answer is worth to the caller and what a second of waiting
costs; everything else follows from prices and evidence. They are a beginning, to be edited.
"""

from __future__ import annotations

from shared.schemas.policies import LevelDocument, PolicyDocument

DEFAULT = "balanced"

_OBJECTIVES: dict[str, dict[str, tuple[float, float]]] = {
    # preset: level: (quality_value_usd, latency_cost_usd_per_s)
    "balanced": {
        "L1": (0.0008, 0.00012),
        "L2": (0.0015, 0.0001),
        "L3": (0.004, 0.00006),
        "L4": (0.004, 0.00006),
    },
    "cost-saver": {
        "L1": (0.0003, 0.00003),
        "L2": (0.0005, 0.00003),
        "L3": (0.0012, 0.00002),
        "L4": (0.0012, 0.00002),
    },
    "quality-first": {
        "L1": (0.01, 0.0002),
        "L2": (0.02, 0.0002),
        "L3": (0.05, 0.0001),
        "L4": (0.05, 0.0001),
    },
}
_DESCRIPTIONS = {
    "balanced": "Quality, cost and waiting weighed as most applications would.",
    "cost-saver": "The cheapest model that is nearly as good.",
    "quality-first": "The best answer; price decides only between equals.",
}
_TASK_LEVELS = {
    "classify": "L1",
    "extract": "L1",
    "autocomplete": "L1",
    "question": "L1",
    "chat": "L2",
    "support": "L2",
    "rewrite": "L2",
    "analysis": "L3",
    "math": "L3",
    "reasoning": "L3",
    "summarize": "L3",
    "code": "L4",
    "code.review": "L4",
    "creative": "L4",
}


def presets(
    extra_task_levels: dict[str, str] | None = None,
) -> dict[str, tuple[str, PolicyDocument]]:
    """Return name -> (description, document) of every preset."""
    task_levels = {**_TASK_LEVELS, **(extra_task_levels or {})}
    return {
        name: (
            _DESCRIPTIONS[name],
            PolicyDocument(
                levels={
                    level: LevelDocument(quality_value_usd=value, latency_cost_usd_per_s=cost)
                    for level, (value, cost) in levels.items()
                },
                task_levels=task_levels,
            ),
        )
        for name, levels in _OBJECTIVES.items()
    }
