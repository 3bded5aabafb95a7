"""Faults on purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.faults import FaultInjector, Faults
from infra.local.queues import Outgoing

MESSAGES = [Outgoing(queue="q", body=str(n)) for n in range(200)]


def test_setting_is_read_from_text() -> None:
    assert Faults.parse("duplicate=0.1, reorder=0.2,delay_s=0.5,drop=0.01,seed=7") == Faults(
        duplicate=0.1, reorder=0.2, delay_s=0.5, drop=0.01, seed=7
    )
    assert Faults.parse("") == Faults()


@pytest.mark.parametrize("text", ["lose=1", "drop=often", "drop", "seed=x"])
def test_setting_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"lose|often|drop|convert|invalid"):
        Faults.parse(text)


def test_nothing_happens_by_default() -> None:
    injector = FaultInjector(Faults())
    assert list(injector.disturb(MESSAGES)) == MESSAGES
    assert not any(injector.loses_result() for _ in range(100))


@given(st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_no_message_is_ever_lost(seed: int, duplicate: float, reorder: float) -> None:
    injector = FaultInjector(Faults(duplicate=duplicate, reorder=reorder, delay_s=1, seed=seed))
    disturbed = list(injector.disturb(MESSAGES))
    assert {message.body for message in disturbed} == {message.body for message in MESSAGES}
    assert all(message.delay_s >= 0 for message in disturbed)


def test_rates_are_about_right_and_repeat_with_the_seed() -> None:
    faults = Faults(duplicate=0.3, reorder=0.2, drop=0.5, seed=11)
    first, second = FaultInjector(faults), FaultInjector(faults)
    once = list(first.disturb(MESSAGES))
    assert once == list(second.disturb(MESSAGES))
    assert 40 < len(once) - len(MESSAGES) < 80
    assert 30 < sum(message.delay_s > 0 for message in once) < 80
    assert 60 < sum(first.loses_result() for _ in range(200)) < 140
