"""Calls of database functions: every value arrives, errors are the engine's, nothing pins."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from shared.config import Settings
from shared.db.calls import Call, as_json
from shared.db.engine import create_engine, transaction
from shared.errors import DatabaseUnavailableError, InvalidInputError
from tests.fakes.tcp_proxy import TcpProxy

_ID = UUID("019ab3c4-d5e6-7f80-91a2-b3c4d5e6f708")
ECHO = "SELECT CAST(%s AS text), CAST(%s AS text)"


@pytest.fixture
def ours(proxy: TcpProxy) -> Iterator[sa.Engine]:
    url = f"postgresql+pg8000://davinci@127.0.0.1:{proxy.port}/davinci"
    engine = create_engine(
        Settings.model_validate({"DATABASE_URL": url, "database_timeout_s": 0.5})
    )
    yield engine
    engine.dispose()
    gc.collect()


def test_every_kind_of_value_arrives_in_a_row(engine: sa.Engine, ours: sa.Engine) -> None:
    table = sa.Table(
        "calls_scratch",
        sa.MetaData(),
        sa.Column("id", sa.Uuid),
        sa.Column("text", sa.Text),
        sa.Column("number", sa.Double),
        sa.Column("big", sa.BigInteger),
        sa.Column("flag", sa.Boolean),
        sa.Column("at", sa.TIMESTAMP(timezone=True)),
        sa.Column("document", JSONB(none_as_null=True)),
    )
    full = {
        "id": _ID, "text": "a%s $1 'é' \U0001f600", "number": 0.1 + 0.2, "big": 2**62,
        "flag": True, "at": datetime(2026, 11, 22, 23, 59, 59, 999_999, UTC),
        "document": {"a": [1, None, {"é": 1e-9}], "b": "'%s"},
    }  # fmt: skip
    write = (
        "WITH written AS (INSERT INTO calls_scratch "
        "SELECT * FROM jsonb_populate_record(NULL::calls_scratch, CAST(%s AS jsonb)) RETURNING 1) "
        "SELECT CAST(count(*) AS text) FROM written"
    )
    with engine.begin() as connection:
        table.create(connection)
    try:
        for row in (full, dict.fromkeys(full)):
            call = Call(write, (as_json(row),))
            assert call.alone(ours) == ("1",)
            with transaction(ours) as connection:
                assert call.within(connection) == ("1",)
        with engine.connect() as connection:
            stored = [tuple(row) for row in connection.execute(sa.select(table))]
    finally:
        with engine.begin() as connection:
            table.drop(connection)
    assert stored[0] == stored[1] == tuple(full.values())
    assert stored[2] == stored[3] == (None,) * len(full)


def test_what_is_no_value_of_a_column_is_not_written_as_text() -> None:
    with pytest.raises(TypeError, match="object"):
        as_json({"features": object()})


def test_text_and_nothing_come_back_as_they_went(ours: sa.Engine) -> None:
    for values in (("a'\u20ac%$1\n", None), ("", "\U0001f600" * 3_000)):
        assert Call(ECHO, values).alone(ours) == values
        with transaction(ours) as connection:
            assert Call(ECHO, values).within(connection) == values


def test_a_call_is_one_unnamed_statement_and_sets_nothing_on_the_wire(
    ours: sa.Engine, proxy: TcpProxy
) -> None:
    call = Call("SELECT set_config('work_mem', '1234kB', true), CAST(%s AS text)", ("x",))
    call.alone(ours)
    proxy.sent[0].clear()
    assert call.alone(ours) == ("1234kB", "x")
    sent = bytes(proxy.sent[0])
    assert sent.startswith(b"P") and sent[5:6] == b"\x00", "a named statement pins a connection"
    assert sent.count(b"S\x00\x00\x00\x04") == 1, "one Sync: one transaction, one answer"
    assert not re.search(rb"(?i)\b(set|begin|commit|rollback)\b(?!_)", sent)
    shown = Call("SELECT current_setting('work_mem'), CAST(%s AS text)", ("x",))
    assert shown.alone(ours) == ("4MB", "x"), "what a call sets ends with it"


def test_a_failed_statement_is_the_engines_error_and_spoils_nothing(ours: sa.Engine) -> None:
    for _ in range(3):
        with pytest.raises(sa.exc.ProgrammingError) as caught:
            Call("SELECT CAST(%s AS integer)", ("x",)).alone(ours)
        assert caught.value.hide_parameters
        assert Call(ECHO, ("a", "b")).alone(ours) == ("a", "b")


def test_a_notice_is_no_answer(ours: sa.Engine) -> None:
    with transaction(ours) as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION pg_temp.warn(text) RETURNS text LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE WARNING 'careful'; RETURN $1; END $$"
        )
    assert Call("SELECT pg_temp.warn(%s)", ("x",)).alone(ours) == ("x",)


def test_what_cannot_be_stored_is_the_inputs_fault(ours: sa.Engine) -> None:
    for value in ("a\x00b", as_json({"text": "a\x00b"})):
        kind = "text" if "{" not in value else "jsonb"
        with pytest.raises(InvalidInputError):
            Call(f"SELECT CAST(CAST(%s AS {kind}) AS text)", (value,)).alone(ours)


@pytest.mark.parametrize("cut", ["reset", "finish"])
def test_a_connection_cut_in_the_middle_is_unavailable_and_replaced(
    ours: sa.Engine, proxy: TcpProxy, cut: str
) -> None:
    asleep = Call("SELECT CAST(pg_sleep(3) AS text), CAST(%s AS text)", ("x",))
    timer = threading.Timer(0.1, getattr(proxy, cut))
    assert Call(ECHO, ("a", None)).alone(ours) == ("a", None)
    timer.start()
    with pytest.raises(DatabaseUnavailableError):
        asleep.alone(ours)
    timer.join()
    for _ in range(2):
        assert Call(ECHO, ("b", None)).alone(ours) == ("b", None)


def test_an_answer_that_takes_too_long_is_not_read_by_the_next_call(ours: sa.Engine) -> None:
    with pytest.raises(DatabaseUnavailableError):
        Call("SELECT CAST(pg_sleep(1) AS text), CAST(%s AS text)", ("late",)).alone(ours)
    assert Call(ECHO, ("b", None)).alone(ours) == ("b", None)


def test_without_a_database_it_is_unavailable(ours: sa.Engine, proxy: TcpProxy) -> None:
    proxy.refusing = True
    with pytest.raises(DatabaseUnavailableError):
        Call(ECHO, ("a", None)).alone(ours)
