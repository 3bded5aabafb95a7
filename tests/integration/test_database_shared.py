"""The database as requests see it that share a thread: nobody's wait for it holds up the others."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

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


@pytest.mark.parametrize("connections", [2, 8])
@pytest.mark.parametrize("ask", [call, query, transact])
def test_what_is_asked_together_is_answered(
    make_engine: Callable[..., sa.Engine], ask: Ask, connections: int
) -> None:
    engine = make_engine(database_connections=connections)  # several make their first one at once
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


class TestKeptConnections:
    """Requests that share a thread keep connections between calls, at nobody's cost."""

    def test_calls_one_after_the_other_keep_one_connection(
        self, make_engine: Callable[..., sa.Engine], proxy: TcpProxy
    ) -> None:
        engine = make_engine(database_connections=4)
        for _ in range(3):
            assert share_now(lambda: call(engine)) == [("x",)]
            assert checked_out(engine) == 1
        assert len(proxy.sent) == 1

    @pytest.mark.parametrize("ask", [query, transact])
    def test_who_needs_one_for_longer_gets_the_kept_one(
        self, make_engine: Callable[..., sa.Engine], proxy: TcpProxy, ask: Ask
    ) -> None:
        engine = make_engine(database_connections=4)
        assert share_now(lambda: call(engine)) == [("x",)]
        assert checked_out(engine) == 1
        assert share_now(lambda: ask(engine)) == [("x",)]
        assert checked_out(engine) == 0
        assert len(proxy.sent) == 1

    @pytest.mark.parametrize("connections", [1, 2, 5, 8])
    def test_more_than_half_of_the_pool_is_left_to_others(
        self, make_engine: Callable[..., sa.Engine], connections: int
    ) -> None:
        engine = make_engine(database_connections=connections)
        assert share_now(*[lambda: call(engine)] * 20) == [("x",)] * 20
        assert checked_out(engine) <= max(0, connections // 2 - 1)

    @pytest.mark.parametrize("how", ["finish", "reset", "reset_when_spoken_to"])
    def test_one_that_was_cut_is_replaced(
        self, make_engine: Callable[..., sa.Engine], proxy: TcpProxy, how: str
    ) -> None:
        engine = make_engine(database_connections=4)
        assert share_now(lambda: call(engine)) == [("x",)]
        getattr(proxy, how)()
        time.sleep(0.5)  # the proxy's threads look up every 0.05 s
        (answer,) = share_now(lambda: call(engine))
        if how == "reset_when_spoken_to":  # whether it was written, nobody can know
            assert isinstance(answer, DatabaseUnavailableError)
            (answer,) = share_now(lambda: call(engine))
        assert answer == ("x",)

    def test_an_idle_one_goes_through_the_pool_which_looks_at_it(
        self, make_engine: Callable[..., sa.Engine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.db.sharing._IDLE_S", 0.0)
        engine, pinged = (
            make_engine(database_connections=4, database_trusted_idle_s=0),
            list[object](),
        )
        ping = engine.dialect.do_ping

        def counted(connection: Any) -> bool:
            pinged.append(connection)
            return ping(connection)

        monkeypatch.setattr(engine.dialect, "do_ping", counted)
        assert [share_now(lambda: call(engine)) for _ in range(2)] == [[("x",)]] * 2
        assert len(pinged) == 1

    def test_they_end_with_the_engine(
        self, make_engine: Callable[..., sa.Engine], engine: sa.Engine
    ) -> None:
        mine = make_engine(database_connections=4)
        pid = share_now(lambda: Call("SELECT pg_backend_pid()::text", ()).alone(mine)[0])[0]
        assert isinstance(pid, str)
        mine.dispose()
        alive = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        deadline = time.monotonic() + 10
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            while connection.scalar(alive, {"pid": int(pid)}):
                assert time.monotonic() < deadline, "its server process still runs"
                time.sleep(0.02)


def checked_out(engine: sa.Engine) -> int:
    assert isinstance(engine.pool, sa.QueuePool)
    return engine.pool.checkedout()
