"""The Server-Timing header."""

from __future__ import annotations

import re

import pytest

from shared.observability.server_timing import ServerTiming


class Clock:
    at = 10.0

    def __call__(self) -> float:
        return self.at


def test_durations_are_summed_by_name_in_order() -> None:
    clock = Clock()
    timing = ServerTiming(cold=True, now=clock)
    for name, took_s in (("auth", 0.001), ("db", 0.002), ("auth", 0.0005)):
        with timing.measure(name):
            clock.at += took_s
    timing.add("upstream", 812.345)
    clock.at += 0.001
    expected = "auth;dur=1.50, db;dur=2.00, upstream;dur=812.35, total;dur=4.50, cold"
    assert timing.render() == expected


def test_a_block_that_fails_has_taken_its_time_too() -> None:
    clock = Clock()
    timing = ServerTiming(now=clock)

    def fail() -> None:
        with timing.measure("db"):
            clock.at += 0.25
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert timing.render() == "db;dur=250.00, total;dur=250.00"


def test_it_is_a_list_of_metrics_as_the_header_wants_them() -> None:
    metric = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(;dur=\d+\.\d\d)?"
    assert re.fullmatch(rf"{metric}(, {metric})*", ServerTiming(cold=True).render())
