"""The database as requests see it that share a thread: nobody's wait for it holds up the others."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from shared.config import Settings
from shared.db.calls import Call
from shared.db.engine import create_engine, single_statement, transaction
from shared.errors import DatabaseUnavailableError
from shared.kit.waiting import pause
from tests.fakes.sharing import share_now
from tests.fakes.tcp_proxy import TcpProxy

ECHO = Call("SELECT CAST(%s AS text)", ("x",))
TIMEOUT_S = 2.0
Ask = Callable[[sa.Engine], object]


def call(engine: sa.Engine) -> object:
    return ECHO.alone(engine)


def query(engine: sa.Engine) -> object:
    with single_statement(engine) as connection:
        return tuple(connection.execute(sa.text("SELECT 'x'")).one())


def transact(engine: sa.Engine) -> object:
    with transaction(engine) as connection:
        return tuple(connection.execute(sa.text("SELECT 'x'")).one())


@pytest.fixture
def make_engine(proxy: TcpProxy) -> Iterator[Callable[..., sa.Engine]]:
    made: list[sa.Engine] = []

    def make(**settings: float) -> sa.Engine:
        url = f"postgresql+pg8000://davinci@127.0.0.1:{proxy.port}/davinci"
        given = {"DATABASE_URL": url, "database_timeout_s": TIMEOUT_S, **settings}
        made.append(create_engine(Settings.model_validate(given)))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
    gc.collect()


class Bystander:
    """Another request, which only wants to go on."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    def __call__(self) -> None:
        for _ in range(10):
            started_at = time.monotonic()
            pause(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - started_at)


@pytest.mark.parametrize("ask", [call, query, transact])
def test_what_is_asked_together_is_answered(
    make_engine: Callable[..., sa.Engine], ask: Ask
) -> None:
    engine = make_engine(database_connections=2)
    assert share_now(*[lambda: ask(engine)] * 20) == [("x",)] * 20


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize("ask", [call, query, transact])
def test_a_database_that_does_not_answer_holds_up_nobody_else(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy, ask: Ask, is_connected: bool
) -> None:
    engine, bystander = make_engine(database_connections=2), Bystander()
    if is_connected:
        assert ask(engine) == ("x",)
    proxy.freeze()
    _, asked = share_now(bystander, lambda: ask(engine))
    assert isinstance(asked, DatabaseUnavailableError)
    assert bystander.longest_s < TIMEOUT_S / 2
    proxy.thaw()
    assert share_now(lambda: ask(engine)) == [("x",)]


def test_a_connection_that_was_idle_is_pinged_without_holding_up_anybody(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    engine, bystander = make_engine(database_trusted_idle_s=0), Bystander()
    assert call(engine) == ("x",)
    proxy.freeze()
    _, asked = share_now(bystander, lambda: call(engine))
    assert isinstance(asked, DatabaseUnavailableError)
    assert bystander.longest_s < TIMEOUT_S / 2


@pytest.mark.parametrize("ask", [call, query, transact])
def test_who_waits_for_a_connection_lets_the_one_go_on_who_gives_it_back(
    make_engine: Callable[..., sa.Engine], ask: Ask
) -> None:
    engine = make_engine(database_connections=1)
    taken = engine.connect()  # as a thread has it that answers a client of its own

    def give_back() -> None:
        pause(0.05)
        taken.close()

    assert share_now(lambda: ask(engine), give_back) == [("x",), None]
