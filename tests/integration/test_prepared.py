"""A prepared statement writes what SQLAlchemy would write."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.prepared import Prepared

_ID = UUID("019ab3c4-d5e6-7f80-91a2-b3c4d5e6f708")


def test_every_kind_of_value_arrives_as_by_sqlalchemy(engine: sa.Engine) -> None:
    table = sa.Table(
        "prepared_scratch",
        sa.MetaData(),
        sa.Column("id", sa.Uuid),
        sa.Column("text", sa.Text),
        sa.Column("number", sa.Double),
        sa.Column("big", sa.BigInteger),
        sa.Column("flag", sa.Boolean),
        sa.Column("at", sa.TIMESTAMP(timezone=True)),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("exact", sa.Numeric(20, 9)),
        sa.Column("document", JSONB(none_as_null=True)),
    )
    full = {
        "id": _ID, "text": "a%s $1 'é' \U0001f600", "number": 0.1 + 0.2, "big": 2**62,
        "flag": True, "at": datetime(2026, 11, 22, 23, 59, 59, 999_999, UTC), "raw": b"\x00\xff%",
        "exact": Decimal("0.000000001"), "document": {"a": [1, None, {"é": 1e-9}], "b": "'%s"},
    }  # fmt: skip
    rows = [full, dict.fromkeys(full)]
    named: dict[str, sa.BindParameter[object]] = {
        name: sa.bindparam(f"row_{name}") for name in full
    }
    write = sa.insert(table).values(named)
    prepared = Prepared(write)
    with engine.connect() as connection:
        table.create(connection)
        for row in rows:
            given = {f"row_{name}": value for name, value in row.items()}
            connection.execute(write, given)
            assert prepared.execute(connection, given) == 1
        stored = [tuple(row) for row in connection.execute(sa.select(table))]
        connection.rollback()
    assert stored[0] == stored[1] == tuple(full.values())
    assert stored[2] == stored[3] == (None,) * len(full)


def test_constants_of_the_statement_are_kept(engine: sa.Engine) -> None:
    statement = sa.text("SELECT :seen").bindparams(sa.bindparam("seen", type_=sa.Text))
    table = sa.Table("prepared_constants", sa.MetaData(), sa.Column("n", sa.Integer))
    write = sa.insert(table).from_select(
        ["n"], sa.select(sa.bindparam("n", type_=sa.Integer) + sa.literal(40))
    )
    with engine.connect() as connection:
        table.create(connection)
        Prepared(write).execute(connection, {"n": 2})
        assert connection.scalar(sa.select(table.c.n)) == 42
        assert connection.scalar(statement, {"seen": "x"}) == "x"
        connection.rollback()


def test_a_missing_parameter_is_an_error_not_a_null(engine: sa.Engine) -> None:
    table = sa.Table("prepared_missing", sa.MetaData(), sa.Column("n", sa.Integer))
    write = Prepared(sa.insert(table).values(n=sa.bindparam("n")))
    with engine.connect() as connection, pytest.raises(KeyError):
        write.execute(connection, {})
