"""Writes that come while another is on its way go together, and each has its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.exc import DBAPIError

from shared.db.gathering import ApartError, Gathering, Write
from shared.errors import DatabaseUnavailableError, InvalidInputError
from shared.kit.waiting import pause
from tests.fakes.sharing import share, share_now

BAD = -1


class Table:
    """A writer that takes its time; all or nothing, as a statement is."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.statements: list[list[int]] = []
        self.rows: list[int] = []
        self.seconds = seconds
        self.error: BaseException | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        self.gathering: Gathering[int, str] = Gathering(self.write)

    def write(self, items: Sequence[int], on_sent: Callable[[], None]) -> list[str]:
        self.statements.append(list(items))
        pause(self.seconds)
        on_sent()
        self.meanwhile()
        pause(self.seconds)
        if self.error is not None:
            raise self.error
        if BAD in items:
            raise DBAPIError("insert", None, Exception("a bad value"))
        self.rows += items
        return [f"row {item}" for item in items]

    def writing(self, item: int) -> Callable[[], str]:
        return lambda: self.gathering.begin(item).result()


def test_where_no_thread_is_shared_each_is_written_by_itself() -> None:
    table = Table(0)
    assert [table.writing(n)() for n in range(3)] == ["row 0", "row 1", "row 2"]
    assert table.statements == [[0], [1], [2]]
    with pytest.raises(DBAPIError):
        table.writing(BAD)()


def test_who_comes_meanwhile_goes_with_the_next() -> None:
    table = Table()
    found = share_now(*(table.writing(n) for n in range(200)))
    assert found == [f"row {n}" for n in range(200)]
    assert table.statements[0] == [0], "nobody waits for company"
    assert [n for statement in table.statements for n in statement] == list(range(200))
    assert max(map(len, table.statements)) == 64 and len(table.statements) == 5


def test_what_fails_for_one_ones_reason_is_written_by_each() -> None:
    table = Table()
    found = share_now(*(table.writing(n) for n in (0, 1, BAD, 3)))
    assert found[:2] == ["row 0", "row 1"] and found[3] == "row 3"
    assert isinstance(found[2], DBAPIError)
    assert sorted(table.rows) == [0, 1, 3]


def refused_by_the_database() -> Exception:
    error = DatabaseUnavailableError()
    error.__cause__ = DBAPIError("insert", None, Exception("the decision is gone"))
    return error


@pytest.mark.parametrize("error", [InvalidInputError("a NUL"), refused_by_the_database()])
def test_what_may_be_one_ones_fault_is_asked_of_each(error: Exception) -> None:
    table = Table()
    table.error = error
    assert share_now(*(table.writing(n) for n in range(3))) == [error] * 3
    assert table.statements == [[0], [1, 2], [1], [2]]


def test_a_database_that_is_not_there_is_not_asked_by_each() -> None:
    table = Table()
    table.error = DatabaseUnavailableError()
    found = share_now(*(table.writing(n) for n in range(9)))
    assert all(isinstance(each, DatabaseUnavailableError) for each in found)
    assert len(table.statements) == 2


def cancelled(table: Table, victim: int, at_statement: int) -> list[object]:
    """Write four items, ending one's request in the middle of a statement."""
    tasks: list[asyncio.Task[list[str | BaseException]]] = []

    def meanwhile() -> None:
        if len(table.statements) == at_statement:
            tasks[victim].cancel()

    async def scene() -> list[object]:
        tasks.extend(asyncio.create_task(share(table.writing(k))) for k in range(4))
        done = asyncio.gather(*tasks, return_exceptions=True)
        found = await asyncio.wait_for(done, 5.0)
        return [each[0] if isinstance(each, list) else each for each in found]

    table.meanwhile = meanwhile
    return asyncio.run(scene())


def test_a_request_that_ends_takes_nothing_from_the_others_and_is_written_all_the_same() -> None:
    for statement, victim in ((1, 2), (2, 1), (1, 0)):
        table = Table()
        found = cancelled(table, victim, at_statement=statement)
        rest = [each for k, each in enumerate(found) if k != victim]
        assert rest == [f"row {k}" for k in range(4) if k != victim]
        assert isinstance(found[victim], asyncio.CancelledError)
        assert table.statements == [[0], [1, 2, 3]]
        assert share_now(table.writing(9)) == ["row 9"]


def test_who_has_begun_a_write_may_do_something_else_meanwhile() -> None:
    table = Table(0.03)
    seen: list[object] = []

    def other_work() -> str:
        write = table.gathering.begin(1)
        seen.append((list(table.statements), list(table.rows), write.is_settled))
        pause(0.1)
        seen.append((list(table.rows), write.is_settled))
        return write.result()

    assert share_now(other_work) == ["row 1"]
    assert seen == [([[1]], [], False), ([1], True)]


def test_a_write_says_whether_it_has_left_this_process() -> None:
    table = Table()
    writes: list[Write[int, str]] = []
    seen: list[list[bool]] = []

    def look() -> None:
        seen.append([write.is_sent for write in writes])

    def work() -> str:
        writes.extend(table.gathering.begin(item) for item in (1, 2))
        look()
        return writes[1].result()

    table.meanwhile = look  # when a statement is on its way
    assert share_now(work) == ["row 2"]
    assert seen == [[False, False], [True, False], [True, True]]


def test_where_no_thread_is_shared_a_write_is_made_when_it_is_begun() -> None:
    table = Table(0)
    good, bad = table.gathering.begin(1), table.gathering.begin(BAD)
    assert good.is_settled and bad.is_settled and table.rows == [1]
    assert good.result() == "row 1"
    with pytest.raises(DBAPIError):
        bad.result()


def test_what_can_be_written_only_apart_is() -> None:
    table = Table()
    together = table.write

    def write(items: Sequence[int], on_sent: Callable[[], None]) -> list[str]:
        rows = together(items, on_sent)
        if len(items) > 1:
            raise ApartError
        return rows

    gathering = Gathering(write)
    found = share_now(*((lambda n=n: gathering.begin(n).result()) for n in range(3)))
    assert found == ["row 0", "row 1", "row 2"] and gathering.is_sound
    assert table.statements == [[0], [1, 2], [1], [2]]


def test_it_knows_whether_the_last_statement_failed() -> None:
    table = Table()
    for item, is_sound in ((1, True), (BAD, False), (2, True)):
        share_now(table.writing(item))
        assert table.gathering.is_sound is is_sound


def test_a_mistake_of_ours_is_raised_to_everybody_whom_it_concerns() -> None:
    table = Table()
    table.error = KeyError("a mistake")
    found = share_now(*(table.writing(n) for n in range(3)))
    assert all(isinstance(each, KeyError) for each in found)
    assert table.statements == [[0], [1, 2]]
