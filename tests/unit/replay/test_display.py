"""What a replay shows."""

from __future__ import annotations

import io
import json

from rich.console import Console

from infra.local.replay.display import Display, as_json, one_line, tables
from infra.local.replay.summary import Summary, fold
from infra.local.replay.traffic import Traffic

from .records import make_decided


def summary_of(traffic: Traffic, n: int = 8) -> Summary:
    return fold(traffic, [make_decided(sequence) for sequence in range(n)])


def test_json_is_one_document_with_every_number(small_traffic: Traffic) -> None:
    text = as_json(summary_of(small_traffic), batch_requests=10, batch_done=8)
    found = json.loads(text)
    assert found["batch"] == {"requests": 10, "done": 8}
    assert found["latency"] == "simulated"
    assert found["levels"]["L1"]["models"]["replay/small-7b"] == {"requests": 8, "share": 1.0}
    assert set(found["comparison"]["utility_usd"]) == {
        "served", "random", "best_fixed", "best_fixed_per_level", "oracle",
    }  # fmt: skip
    assert len(found["stages"]) == 4


def test_json_of_nothing_is_still_json(small_traffic: Traffic) -> None:
    found = json.loads(as_json(summary_of(small_traffic, 0), batch_requests=0, batch_done=0))
    assert found["comparison"] is None


def test_a_line_holds_progress_levels_utility_latency_and_cost(small_traffic: Traffic) -> None:
    line = one_line(summary_of(small_traffic), batch_requests=2400, batch_done=1200)
    assert line.startswith("replay 1,200/2,400 | L1 100.0 % L2 0.0 % L3 0.0 % L4 0.0 %")
    assert "best single" in line
    assert "p99 12 ms" in line
    assert "\n" not in line


def test_tables_say_that_latency_is_simulated(small_traffic: Traffic) -> None:
    screen = io.StringIO()
    Console(file=screen, width=120).print(tables(summary_of(small_traffic)))
    text = screen.getvalue()
    assert "simulated" in text
    assert "best single model in hindsight: small-7b" in text
    assert "oracle" in text


def test_an_empty_replay_can_be_shown(small_traffic: Traffic) -> None:
    screen = io.StringIO()
    Console(file=screen, width=120).print(tables(summary_of(small_traffic, 0)))
    assert "all models" in screen.getvalue()


def test_off_a_terminal_a_line_comes_every_few_seconds(small_traffic: Traffic) -> None:
    screen, now = io.StringIO(), [0.0]
    console = Console(file=screen, width=40)
    made = summary_of(small_traffic)
    with Display(console, 10, line_every_s=5.0, monotonic=lambda: now[0]) as display:
        for second in range(12):
            now[0] = float(second)
            display.update(lambda: made, 8)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2  # after 5 and 10 seconds, each on one line however narrow the console
    assert all(line.startswith("replay 8/10") for line in lines)


def test_on_a_terminal_the_tables_are_live_and_leave_no_trace(small_traffic: Traffic) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=50)
    with Display(console, 10) as display:
        display.update(lambda: summary_of(small_traffic), 8)
    assert "8/10" in screen.getvalue()
    assert "Requests by level and model" in screen.getvalue()
