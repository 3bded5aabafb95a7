"""Blocking code that shares a thread: who waits lets others go on, and errors find their way."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
import time
from collections.abc import Callable

import pytest

from shared.kit.waiting import (
    Seats,
    Signal,
    beside,
    elsewhere,
    is_shared,
    pause,
    signal,
    until_ready,
)
from tests.fakes.sharing import share, share_now

WAIT_S = 5.0


def test_who_waits_for_a_socket_lets_the_one_go_on_who_sends_to_it() -> None:
    ours, theirs = socket.socketpair()
    told: list[str] = []

    def reader() -> bytes:
        told.append("waits")
        assert until_ready(ours.fileno(), WAIT_S)
        told.append("reads")
        return ours.recv(9)

    def writer() -> None:
        told.append("sends")
        theirs.send(b"x")

    with ours, theirs:
        assert share_now(reader, writer) == [b"x", None]
    assert told == ["waits", "sends", "reads"]


def test_a_wait_ends_in_time_and_says_so() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert share_now(lambda: until_ready(ours.fileno(), 0.02)) == [False]
        assert until_ready(ours.fileno(), 0.0) is False
        assert share_now(lambda: until_ready(ours.fileno(), 0.02, to_write=True)) == [True]
        assert until_ready(ours.fileno(), None, to_write=True)


def test_pauses_pass_side_by_side() -> None:
    started_at = time.monotonic()
    share_now(*[lambda: pause(0.2)] * 10)
    assert 0.2 <= time.monotonic() - started_at < 1.5


def test_what_blocks_is_done_in_another_thread() -> None:
    has_come = threading.Event()
    here = threading.get_ident()

    def blocks() -> bool:
        assert threading.get_ident() != here
        return has_come.wait(WAIT_S)

    assert share_now(lambda: elsewhere(blocks), has_come.set) == [True, None]
    assert elsewhere(threading.get_ident) == here, "who shares with nobody does it where they are"
    assert not is_shared()


def test_an_error_elsewhere_is_raised_where_it_was_asked_for() -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    def catch() -> str:
        assert is_shared()
        try:
            elsewhere(fail)
        except LookupError as error:
            return str(error)
        return ""

    caught, raised = share_now(catch, lambda: elsewhere(fail))
    assert caught == "nothing there" and isinstance(raised, LookupError)


def test_each_has_its_own_context() -> None:
    mine = contextvars.ContextVar("mine", default=0)

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            mine.set(number)
            pause(0.001)
            return mine.get()

        return run

    assert share_now(*map(work, range(1, 9))) == list(range(1, 9))
    assert mine.get() == 0


def test_more_requests_than_are_served_at_once_wait_their_turn() -> None:
    begun, most = [0], [0]

    def work() -> None:
        begun[0] += 1
        most[0] = max(most[0], begun[0])
        pause(0.001)
        begun[0] -= 1

    assert asyncio.run(share(*[work] * 9, at_once=3)) == [None] * 9
    assert most == [3]


class TestSeats:
    def test_no_more_than_so_many_and_first_come_first_served(self) -> None:
        seats, told, seated = Seats(2), [], [0, 0]

        def work(number: int) -> Callable[[], None]:
            def run() -> None:
                with seats:
                    seated[0] += 1
                    seated[1] = max(seated)
                    told.append(number)
                    pause(0.001)
                    seated[0] -= 1

            return run

        assert share_now(*map(work, range(9))) == [None] * 9
        assert told == list(range(9)) and seated == [0, 2]

    @pytest.mark.parametrize("is_given", [False, True])
    def test_one_that_is_given_up_is_the_next_ones(self, is_given: bool) -> None:
        seats, told = Seats(1), []
        tasks: list[asyncio.Task[object]] = []

        def first() -> None:
            with seats:
                pause(0.01)
                if not is_given:
                    tasks[1].cancel()
                pause(0.01)
            if is_given:  # the next one has it, and has not gone on yet
                tasks[1].cancel()

        def work() -> None:
            with seats:
                told.append("seated")

        async def scene() -> None:
            tasks.extend(asyncio.create_task(share(each)) for each in (first, work, work))
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_S)

        asyncio.run(scene())
        assert tasks[1].cancelled() and told == ["seated"]
        assert share_now(work) == [None], "it is free again"


def test_a_signal_is_told_once_and_for_all() -> None:
    told: list[str] = []
    signals: list[Signal] = []

    def waits() -> None:
        mine = signal()
        signals.append(mine)
        mine.wait()
        told.append("goes on")
        mine.wait()

    def tells() -> None:
        told.append("tells")
        signals[0].tell()
        signals[0].tell()

    assert share_now(waits, tells) == [None, None]
    assert told == ["tells", "goes on"]


def test_what_is_begun_beside_goes_on_where_its_beginner_does_not_wait() -> None:
    told: list[str] = []
    done: list[Signal] = []

    def helper() -> None:
        told.append("helper begins")
        pause(0.02)
        told.append(elsewhere(lambda: "helper goes on"))
        done[0].tell()

    def begins() -> None:
        done.append(signal())
        beside(helper)
        told.append("beginner goes on")
        pause(0.001)
        told.append("beginner is still first")
        done[0].wait()
        told.append("both are done")

    assert share_now(begins) == [None]
    assert told == [
        "helper begins", "beginner goes on", "beginner is still first", "helper goes on",
        "both are done",
    ]  # fmt: skip


def test_what_does_not_wait_is_done_when_its_beginner_goes_on() -> None:
    told: list[str] = []

    def begins() -> None:
        beside(lambda: beside(lambda: told.append("innermost")))
        told.append("beginner")

    assert share_now(begins) == [None]
    assert told == ["innermost", "beginner"]


def test_a_helper_outlives_who_began_it() -> None:
    told: list[str] = []

    def helper() -> None:
        for _ in range(3):
            pause(0.01)
        told.append("done")

    async def scene() -> None:
        await share(lambda: beside(helper))
        assert told == []
        await asyncio.sleep(0.2)

    asyncio.run(scene())
    assert told == ["done"]
