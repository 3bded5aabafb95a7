"""The same decision, bit for bit, on every processor and in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shared.routing.decide import ROUTER_VERSION

# Teaches a learner from prompts whose quality depends on task, model and text, decides for prompts
# with and without a task, and prints the state's and every decision's digest.
_SCRIPT = """
import hashlib, json
from dataclasses import astuple
from shared.routing.decide import decide
from shared.routing.learner import LearnerState
from tests.unit.routing.scenes import *

TEXTS = [f"Tom has {i} apples and buys {i % 7} more. How many?" for i in range(100)]
TEXTS += [f"Who wrote book number {i}?" for i in range(60)]
TEXTS += ["\\uc548\\ub155 " * i for i in range(40)]
rows = [
    make_feedback(card.id, ((i * 7 + j * 3) % 11) / 10, task=f"t{i % 3}" if i % 2 else None,
                  features=features_of(text), minutes=i)
    for i, text in enumerate(TEXTS)
    for j, card in enumerate((SMALL, MIDDLE, LARGE))
]
learner = LearnerState.empty().fold(rows)
known = []
found = [hashlib.sha256(json.dumps(learner.to_json()).encode()).hexdigest()]
# Where hardly anything is known and quality is dear, optimism has its say.
for knowing, strategy, value in (
    (learner, "epsilon_greedy", 0.01), (learner, "inverse_gap", 0.01), (learner, "thompson", 0.01),
    (LearnerState.empty().fold(rows[:12]), "thompson", 1.0),
):
    snapshot = make_snapshot(learner=knowing, strategy=strategy, quality_value_usd=value)
    for i, text in enumerate(TEXTS[::5]):
        task = f"t{i % 3}" if i % 2 else None
        chosen = decide(make_context(text, task_type=task, level="L3"), snapshot, seed=i, now=NOW)
        found.append(repr(astuple(chosen)))
        said = [f"{c.probability:.9g} {c.utility_usd:.9g}" for c in chosen.candidates]
        known += [chosen.model, *said]
print(hashlib.sha256("".join(found).encode()).hexdigest())
print(hashlib.sha256(" ".join(known).encode()).hexdigest())
"""


def digests(**environment: str) -> list[str]:
    """Return one of every bit, and one of what was decided, to nine digits."""
    done = subprocess.run(  # the interpreter that runs the tests, on a fixed script
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": ".", "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def here() -> list[str]:
    return digests(PYTHONHASHSEED="0")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "4711"},
        {"OPENBLAS_CORETYPE": "Nehalem"},
        {"OPENBLAS_CORETYPE": "Sandybridge"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL", "OPENBLAS_CORETYPE": "Nehalem"},
    ],
    ids=lambda environment: " ".join(f"{k}={v}" for k, v in environment.items()),
)
def test_another_processor_learns_and_decides_the_same_bits(
    here: list[str], environment: dict[str, str]
) -> None:
    assert digests(**environment) == here


def test_who_changes_what_is_decided_raises_the_version(here: list[str]) -> None:
    """Stored decisions are recomputed by the version that made them, or said not to be."""
    assert (ROUTER_VERSION, here[1]) == (
        3,
        "0dabb284b86b4ef1e8d058844cd98d01013f783be12c0d3b8414d022cccbee35",
    )
