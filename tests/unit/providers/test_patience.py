"""Which wait ends a call, on a clock."""

from __future__ import annotations

import pytest

from shared.providers.deadline import Deadline
from shared.providers.patience import OutOfPatienceError, Patience


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def patience(clock: Clock, total_s: float) -> Patience:
    return Patience(Deadline.after(total_s, clock), connect_s=5.0, first_byte_s=20.0)


def test_each_stage_has_its_own_wait() -> None:
    clock = Clock()
    waits = patience(clock, 600.0)
    assert waits.connect_left_s() == 5.0 and waits.left_s() == 20.0
    clock.at += 19.0
    assert waits.left_s() == 1.0
    waits.wait_for_next(15.0)
    assert waits.left_s() == 15.0


def test_nothing_outlasts_the_deadline() -> None:
    clock = Clock()
    waits = patience(clock, 3.0)
    assert waits.connect_left_s() == waits.left_s() == 3.0
    waits.wait_for_next(15.0)
    clock.at += 3.0
    with pytest.raises(OutOfPatienceError):
        waits.left_s()
    assert waits.is_over() and waits.expired() == "timeout"


@pytest.mark.parametrize(
    ("waiting", "expected"), [(False, "first-byte-timeout"), (True, "idle-timeout")]
)
def test_the_wait_that_ended_is_named(waiting: bool, expected: str) -> None:
    clock = Clock()
    waits = patience(clock, 600.0)
    if waiting:
        waits.wait_for_next(15.0)
    clock.at += 21.0
    with pytest.raises(OutOfPatienceError):
        waits.left_s()
    assert waits.expired() == expected and not waits.is_over()
