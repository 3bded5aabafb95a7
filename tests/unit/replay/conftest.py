"""Fixtures of the replay's unit tests."""

from __future__ import annotations

import pytest

from infra.local.replay.traffic import RecordedModel, RecordedRow, Traffic, load_traffic


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """The committed recordings."""
    return load_traffic()


@pytest.fixture
def small_traffic() -> Traffic:
    """Two models, three prompts: the first model is right once, the second twice."""
    models = (RecordedModel("small-7b", 0.2, 0.2), RecordedModel("large-70b", 0.9, 0.9))
    rows = (
        RecordedRow("a", "trivia_qa", "L1", "Who?", (1.0, 0.0)),
        RecordedRow("b", "gsm8k", "L3", "How many?", (0.0, 1.0)),
        RecordedRow("c", "mbpp", "L4", "Write it.", (0.0, 0.5)),
    )
    return Traffic(models, rows, "0" * 64)
