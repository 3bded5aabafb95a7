"""The benchmarks' answers have the fields that are relied on from outside."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from infra.bench import ope, rollout
from infra.bench.recorded import DEFAULT_DATA
from shared.routing.reward_model import ESTIMATORS


def result_of(bench: Any, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    result: dict[str, Any] = bench.run(parser.parse_args(arguments))
    assert json.loads(json.dumps(result)) == result
    assert bench.rows(result)
    return result


def test_ope_gives_error_bias_and_coverage_of_each_estimator() -> None:
    arguments = ["--data", str(DEFAULT_DATA), "--epsilon", "0.3", "--logs", "300,400"]
    result = result_of(ope, *arguments, "--resamples", "3")
    assert list(result["logs"]) == ["300", "400"]
    for figures in result["logs"].values():
        assert tuple(figures) == ESTIMATORS
        for one in figures.values():
            assert {"rmse", "bias", "coverage"} <= set(one)
            assert 0 <= one["rmse"] < 0.5


def test_rollout_gives_the_figures_that_are_relied_on() -> None:
    result = result_of(rollout, "--runs", "4", "--week", "2000")
    assert set(result["median_decisions_to_detect"]) == {"5", "20"}
    assert result["detected_20_percent"] == 1.0
    assert result["promoted_when_better"] == 1.0
    assert result["false_rollback_rate"] <= 0.25


def test_ope_refuses_what_cannot_be_measured() -> None:
    with pytest.raises(SystemExit):
        result_of(ope, "--epsilon", "0")
