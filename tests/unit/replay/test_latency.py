"""Simulated latency: published figures, drawn the same everywhere."""

from __future__ import annotations

import statistics

import pytest

from infra.local.replay.latency import simulated_latency_ms, speed_class
from infra.local.replay.traffic import TOKENS_OUT, Traffic


@pytest.mark.parametrize(
    ("model", "tokens_per_second"),
    [
        ("codegemma-7b", 75),
        ("gemma-2-9b-it", 75),
        ("llama3-chatqa-1.5-8b", 75),
        ("llama-3.3-nemotron-super-49b-v1", 65),
        ("llama3-chatqa-1.5-70b", 65),
        ("a-name-without-a-size", 65),
    ],
)
def test_the_median_speed_is_the_published_one_of_the_models_size(
    model: str, tokens_per_second: int
) -> None:
    row = speed_class(model)
    assert round(row.mean_tokens_out / row.end_to_end_s[2]) == tokens_per_second


def test_equal_names_draw_equal_latency() -> None:
    assert simulated_latency_ms("0", "codegemma-7b", 150) == 2065
    assert simulated_latency_ms("0", "codegemma-7b", 150) == 2065
    assert simulated_latency_ms("1", "codegemma-7b", 150) != 2065


def test_draws_follow_the_published_quantiles(traffic: Traffic) -> None:
    index = traffic.model_index("qwen2.5-7b-instruct")
    assert index is not None
    drawn = sorted(traffic.latency_ms(row, index) for row in traffic.rows)
    row = speed_class("qwen2.5-7b-instruct")
    published = [seconds / row.mean_tokens_out * TOKENS_OUT * 1000 for seconds in row.end_to_end_s]
    assert published[0] <= drawn[0] <= drawn[-1] <= published[-1] + 1
    assert statistics.median(drawn) == pytest.approx(published[2], rel=0.02)
    assert drawn[int(len(drawn) * 0.95)] == pytest.approx(published[5], rel=0.02)


def test_fewer_tokens_take_less_time() -> None:
    assert simulated_latency_ms("0", "codegemma-7b", 75) == pytest.approx(2065 / 2, abs=1)
