"""Budgets that hold: reserve the most a request can cost, settle what it did cost.

What is enforced is what is reported: ``reserved + settled`` of the row that ``reserve`` checks is
what ``read_spend`` returns. As long as a reservation is an upper bound, no number of processes can
spend more than the limit; the check and the hold are one statement on one row.

A request's hold ends once: ``settle`` deletes the reservation and moves its money in one statement,
in the transaction that writes the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.tables import in_flight, reservations, spend

Window = Literal["day", "month", "total"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What ``subject`` may spend per window. Days and months are UTC's."""

    subject: str
    window: Window
    limit_nusd: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A window's money: held by requests in work, and spent."""

    window: Window
    window_start: datetime
    reserved_nusd: int = 0
    settled_nusd: int = 0


def reserve(
    connection: sa.Connection, decision_id: UUID, budget: Budget, amount_nusd: int, ttl_s: float
) -> bool:
    """Hold ``amount_nusd`` of the budget for a request, for at most ``ttl_s``; False if it no
    longer fits, and then nothing is held. One statement.
    """
    held = connection.execute(
        _reserve_statement(budget.window),
        {
            "p_subject": budget.subject,
            "p_amount": amount_nusd,
            "p_limit": budget.limit_nusd,
            "p_decision_id": decision_id,
            "p_ttl_s": ttl_s,
        },
    )
    return held.one_or_none() is not None


def settle(connection: sa.Connection, decision_id: UUID, cost_nusd: int | None) -> bool:
    """Turn a request's hold into what it cost; None: what it held, the most it can have cost.

    False if it held nothing (any more): settling again changes nothing.
    """
    settled = connection.execute(
        _settle_statement(), {"p_decision_id": decision_id, "p_cost": cost_nusd}
    )
    return settled.rowcount > 0


def find_reservation(connection: sa.Connection, decision_id: UUID) -> int | None:
    """Return what a request holds, or None."""
    return connection.scalar(
        sa.select(reservations.c.reserved_nusd).where(reservations.c.decision_id == decision_id)
    )


def release_undecided(connection: sa.Connection, most: int) -> int:
    """Give back what requests held that died before their decision was written: no model was
    called for them. Return how many.
    """
    now = sa.func.clock_timestamp()
    abandoned = connection.scalars(
        sa.select(reservations.c.decision_id)
        .where(
            reservations.c.expires_at < now,
            ~sa.exists().where(in_flight.c.decision_id == reservations.c.decision_id),
        )
        .order_by(reservations.c.expires_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    for decision_id in abandoned:
        settle(connection, decision_id, 0)
    return len(abandoned)


def read_spend(connection: sa.Connection, windows: Mapping[str, Window]) -> dict[str, Spent]:
    """Return what each subject has spent in its current window, for ``windows`` by subject.

    A subject that has spent nothing in it is there, with zeros. Two statements, however many.
    """
    if not windows:
        return {}
    starts = connection.execute(
        sa.select(*(_window_start(window).label(window) for window in ("day", "month", "total")))
    ).one()
    found = {s: Spent(window, getattr(starts, window)) for s, window in windows.items()}
    rows = connection.execute(
        sa.select(spend).where(
            sa.tuple_(spend.c.subject, spend.c.window, spend.c.window_start).in_(
                [(subject, s.window, s.window_start) for subject, s in found.items()]
            )
        )
    )
    for row in rows:
        found[row.subject] = Spent(
            row.window, row.window_start, row.reserved_nusd, row.settled_nusd
        )
    return found


def _window_start(window: str) -> sa.ColumnElement[Any]:
    if window == "total":
        return sa.func.to_timestamp(0)
    return sa.func.date_trunc(window, sa.func.clock_timestamp(), "UTC")


@cache
def _reserve_statement(window: Window) -> sa.Insert:
    amount = sa.bindparam("p_amount", type_=sa.BigInteger)
    limit = sa.bindparam("p_limit", type_=sa.BigInteger)
    fits = sa.select(
        sa.bindparam("p_subject", type_=sa.Text), sa.literal(window, sa.Text),
        _window_start(window), amount,
    ).where(amount <= limit)  # fmt: skip
    key = [spend.c.subject, spend.c.window, spend.c.window_start]
    first = insert(spend).from_select([*key, spend.c.reserved_nusd], fits)
    total = spend.c.reserved_nusd + first.excluded.reserved_nusd
    held = (
        first.on_conflict_do_update(
            index_elements=key,
            set_={"reserved_nusd": total},
            where=total + spend.c.settled_nusd <= limit,
        )
        .returning(*key)
        .cte("held")
    )
    ttl = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam("p_ttl_s", type_=sa.Double))
    hold = sa.select(
        sa.bindparam("p_decision_id", type_=sa.Uuid), held.c.subject, held.c.window,
        held.c.window_start, amount, sa.func.clock_timestamp() + ttl,
    )  # fmt: skip
    columns = ["decision_id", "subject", "window", "window_start", "reserved_nusd", "expires_at"]
    return sa.insert(reservations).from_select(columns, hold).returning(reservations.c.decision_id)


@cache
def _settle_statement() -> sa.Update:
    held = (
        sa.delete(reservations)
        .where(reservations.c.decision_id == sa.bindparam("p_decision_id", type_=sa.Uuid))
        .returning(*reservations.columns)
        .cte("held")
    )
    cost = sa.func.coalesce(sa.bindparam("p_cost", type_=sa.BigInteger), held.c.reserved_nusd)
    return (
        sa.update(spend)
        .where(
            spend.c.subject == held.c.subject,
            spend.c.window == held.c.window,
            spend.c.window_start == held.c.window_start,
        )
        .values(
            reserved_nusd=spend.c.reserved_nusd - held.c.reserved_nusd,
            settled_nusd=spend.c.settled_nusd + cost,
        )
    )
