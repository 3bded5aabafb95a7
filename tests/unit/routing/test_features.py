from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from shared.routing.features import FEATURE_NAMES, N_FEATURES
from tests.unit.routing.scenes import NOW, featurise

ODD_TEXTS = [
    "",
    " ",
    "\x00",
    "\ud800 lone surrogate",
    "안녕하세요, 파이썬으로 정렬 함수를 작성해 주세요.",
    "👩‍👩‍👧‍👦🔥" * 50,
    "a" * 200_000,
    "\n" * 200_000,
    "a(" * 100_000,
    "1 " * 100_000,
]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_any_text_gives_finite_float32_exact_values_quickly(text: str) -> None:
    started = time.perf_counter()
    vector = featurise(text, "L1", NOW)
    assert time.perf_counter() - started < 0.2
    assert vector.shape == (N_FEATURES,) == (len(FEATURE_NAMES),)
    assert np.all(np.isfinite(vector))
    assert np.array_equal(vector.astype(np.float32).astype(np.float64), vector)
    assert np.all(np.abs(vector) <= 8.0)
    assert np.array_equal(vector * 1024, np.rint(vector * 1024))


def test_another_process_with_another_hash_seed_computes_the_same_bytes() -> None:
    text = "Explain 안녕 quicksort in O(n log n)"
    script = (
        "import hashlib;from datetime import datetime,UTC;"
        "from tests.unit.routing.scenes import featurise;"
        f"v=featurise({text!r},'L3',datetime(2026,11,22,20,0,tzinfo=UTC));"
        "print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    here = hashlib.sha256(featurise(text, "L3", NOW).tobytes()).hexdigest()
    for hash_seed in ("0", "4711"):
        there = subprocess.run(  # the interpreter that runs the tests, on a fixed script
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert there == here


def test_the_same_instant_in_another_zone_gives_the_same_vector() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    assert np.array_equal(featurise("x", "L1", NOW), featurise("x", "L1", elsewhere))


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        featurise("x", "L1", datetime(2026, 1, 1))


def test_different_prompts_give_different_vectors() -> None:
    code = featurise("def f(x):\n    return x + 1", None, datetime(2026, 1, 1, tzinfo=UTC))
    chat = featurise("Hello, how are you?", None, datetime(2026, 1, 1, tzinfo=UTC))
    assert not np.array_equal(code, chat)
