from __future__ import annotations

import argparse
import json
import os
from typing import Any

import pytest

from infra.bench import cold, handler, identity, load
from infra.bench.__main__ import BENCHES, main
from infra.bench.cpu import cpu_seconds_below, per_call_ms
from infra.bench.report import Row


class _Fake:
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, default=3)

    def run(self, given: argparse.Namespace) -> dict[str, Any]:
        return {"calls": given.calls}

    def rows(self, result: dict[str, Any]) -> list[Row]:
        return [Row("calls", str(result["calls"]))]


@pytest.fixture
def fake_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.bench.__main__._load", lambda _name: _Fake())


@pytest.mark.usefixtures("fake_bench")
def test_json_on_standard_output_is_the_result_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["handler", "--json", "--calls", "5"]) == 0
    assert json.loads(capsys.readouterr().out) == {"calls": 5}


@pytest.mark.usefixtures("fake_bench")
def test_without_json_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handler"]) == 0
    assert "| calls | 3 |" in capsys.readouterr().out


def test_an_unknown_benchmark_is_a_wrong_call() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["nonsense"])
    assert stopped.value.code == 2


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_handler_meets_its_target_only_with_both_percentiles() -> None:
    result = {
        "handler_ms": {"p50": 4.0, "p99": 26.0},
        "decide_ms": {"p50": 0.2, "p99": 0.3},
        "models": {"decide": 10},
    }
    assert [row.is_met for row in handler.rows(result)] == [False, True]


def test_the_slowest_function_speaks_for_all_cold_starts() -> None:
    functions: dict[str, dict[str, Any]] = {
        "AuthFunction": {"init_ms": 400.0, "ratio": 1.6},
        "NeuralFunction": {
            "init_ms": 525.0, "ratio": 2.1, "first_ms": 560.0, "first_request": "POST /x",
        },
    }  # fmt: skip
    worst, first = cold.rows({"hello_ms": 250.0, "functions": functions})
    assert "NeuralFunction" in worst.what
    assert worst.measured == "2.10 x (525 ms against 250 ms)"
    assert worst.is_met is False
    assert (first.measured, first.is_met) == ("560 ms", None)


@pytest.mark.parametrize(
    ("changed", "is_met"),
    [
        ({}, True),
        ({"requests_per_minute": 9_999}, False),
        ({"error_rate": 0.001}, False),
        ({"p99_ms": 100.1}, False),
    ],
)
def test_load_needs_rate_errors_and_latency_together(
    changed: dict[str, float], is_met: bool
) -> None:
    good = {"requests_per_minute": 10_000, "error_rate": 0.0, "p50_ms": 5.0, "p99_ms": 100.0}
    (row,) = load.rows(good | changed)
    assert row.is_met is is_met


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({}, [True, True, True]),
        ({"hash_ms": {"p50": 30.0, "p95": 250.1}}, [False, True, True]),
        ({"login_difference_ms": 5.01}, [True, False, True]),
        ({"hot_over_spread_p99": 2.01}, [True, True, False]),
    ],
)
def test_each_figure_of_identity_has_its_own_target(
    changed: dict[str, Any], met: list[bool]
) -> None:
    good = {
        "hash_ms": {"p50": 30.0, "p95": 250.0},
        "login_median_ms": {"known": 40.0, "unknown": 45.0}, "login_difference_ms": 5.0,
        "beside_ms": {mode: {"p99": 9.0} for mode in ("alone", "spread", "hot")},
        "hot_over_spread_p99": 2.0, "tries": 200, "calls": 1_000,
    }  # fmt: skip
    assert [row.is_met for row in identity.rows(good | changed)] == met


def test_processor_time_is_told_by_kind_and_call() -> None:
    before, after = {"postgres": 1.0}, {"postgres": 1.5, "gateway": 2.0, "other": 0.0}
    assert per_call_ms(before, after, 1_000) == {"gateway": 2.0, "postgres": 0.5}


def test_a_process_is_below_itself() -> None:
    assert set(cpu_seconds_below(os.getpid())) >= {"local cloud"}
