"""Writes that come while another is on its way go together, and each has its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.exc import DBAPIError

from shared.db.gathering import Gathering
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

    def write(self, items: Sequence[int]) -> list[str]:
        self.statements.append(list(items))
        pause(self.seconds)
        self.meanwhile()
        pause(self.seconds)
        if self.error is not None:
            raise self.error
        if BAD in items:
            raise DBAPIError("insert", None, Exception("a bad value"))
        self.rows += items
        return [f"row {item}" for item in items]

    def writing(self, item: int) -> Callable[[], str]:
        return lambda: self.gathering.write(item)


def test_where_no_thread_is_shared_each_is_written_by_itself() -> None:
    table = Table(0)
    assert [table.gathering.write(n) for n in range(3)] == ["row 0", "row 1", "row 2"]
    assert table.statements == [[0], [1], [2]]
    with pytest.raises(DBAPIError):
        table.gathering.write(BAD)


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


def test_a_request_that_ends_in_the_queue_leaves_its_place() -> None:
    table = Table()
    found = cancelled(table, victim=2, at_statement=1)
    assert found[:2] == ["row 0", "row 1"] and found[3] == "row 3"
    assert isinstance(found[2], asyncio.CancelledError)
    assert table.statements == [[0], [1, 3]]
    assert table.gathering.write(9) == "row 9"


def test_a_request_that_ends_while_it_writes_for_others_leaves_nobody_waiting() -> None:
    table = Table()
    found = cancelled(table, victim=1, at_statement=2)
    assert found[0] == "row 0" and isinstance(found[1], asyncio.CancelledError)
    # Nobody knows whether it was written.
    assert all(isinstance(each, DatabaseUnavailableError) for each in found[2:])
    assert table.statements == [[0], [1, 2, 3]]
    assert share_now(table.writing(8)) == ["row 8"]


def test_a_request_that_ends_when_it_is_to_lead_passes_that_on() -> None:
    table = Table()
    tasks: list[asyncio.Task[list[str | BaseException]]] = []

    def first() -> str:
        result = table.gathering.write(0)
        tasks[1].cancel()  # it was told to go on, and has not yet
        return result

    async def scene() -> list[object]:
        works = (first, table.writing(1), table.writing(2))
        tasks.extend(asyncio.create_task(share(work)) for work in works)
        return list(await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0))

    found = asyncio.run(scene())
    assert found[0] == ["row 0"] and found[2] == ["row 2"]
    assert isinstance(found[1], asyncio.CancelledError)
    assert table.statements == [[0], [2]]
