"""Few compute at once, and who rests is not in the way."""

from __future__ import annotations

import threading

import pytest

from shared.kit.turns import Turns, resting
from tests.fakes.threads import at_once

WAIT_S = 10.0


def test_no_more_than_so_many_have_a_turn() -> None:
    turns, lock, seen, most = Turns(3), threading.Lock(), [0], [0]

    def work(_index: int) -> None:
        for _ in range(50):
            with turns.turn():
                with lock:
                    seen[0] += 1
                    most[0] = max(most[0], seen[0])
                with lock:
                    seen[0] -= 1

    at_once(12, work)
    assert 1 <= most[0] <= 3


def test_who_rests_lets_another_one_go_on_and_comes_back_after_it() -> None:
    turns, told, rests, done = Turns(1), [], threading.Event(), threading.Event()

    def first() -> None:
        with turns.turn():
            told.append("first begins")
            with resting():
                rests.set()
                assert done.wait(WAIT_S)
            told.append("first goes on")

    thread = threading.Thread(target=first)
    thread.start()
    assert rests.wait(WAIT_S)
    with turns.turn():
        told.append("second")
        done.set()
        # The first one may not go on before this turn is over.
        thread.join(0.05)
        told.append("second ends")
    thread.join(WAIT_S)
    assert told == ["first begins", "second", "second ends", "first goes on"]


def test_a_turn_comes_free_when_its_work_fails_also_while_resting() -> None:
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.turn(), resting():
            raise ZeroDivisionError
    with turns.turn():
        pass


def test_a_thread_without_turns_rests_without_more_ado() -> None:
    with resting(), resting():
        pass
