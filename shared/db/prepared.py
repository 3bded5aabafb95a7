"""Statements of the hot path: composed once, then only filled in.

SQLAlchemy looks a statement up in its cache, gathers its parameters by name and wraps its result
anew at each execution, which costs more than the driver does. What is written for every decision
goes this way; everything else is executed as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.pg8000 import dialect as pg8000_dialect

_Process = Callable[[Any], Any]


class Prepared:
    """An INSERT, UPDATE or DELETE with named parameters, as text for the driver."""

    def __init__(self, statement: sa.ClauseElement) -> None:
        self._statement = statement

    def execute(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> int:
        """Execute with a value for every parameter; return how many rows were changed."""
        text, fields, constants = self._composed
        values = tuple(
            constants[name] if name in constants
            else parameters[name] if process is None
            else process(parameters[name])
            for name, process in fields
        )  # fmt: skip
        return connection.exec_driver_sql(text, values).rowcount

    @cached_property
    def _composed(self) -> tuple[str, list[tuple[str, _Process | None]], dict[str, Any]]:
        dialect: Any = pg8000_dialect()  # type: ignore[no-untyped-call]
        compiled: Any = self._statement.compile(dialect=dialect)
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        fields = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]
        return str(compiled), fields, constants
