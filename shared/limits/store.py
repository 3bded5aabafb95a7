"""The buckets in the database: exact under concurrency, by the database's clock.

Give these functions a connection on which every statement is its own transaction
(``single_statement``): a bucket's row stays locked until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from shared.db.calls import Call, Row
from shared.limits.buckets import Bucket, Verdict, judge

# A function of the database (migration 0003), whose plans each session keeps: 0.2 ms a request,
# where the same as one common table expression costs 0.7 ms, most of it planning. It locks the
# rows in the order of ``ids``, reads the clock, and charges either all buckets or none.
_ADMIT = (
    "SELECT backlogs_ns::text, admitted::text FROM admit_request("
    "CAST(%s AS text[]), CAST(%s AS bigint[]), CAST(%s AS bigint[]), CAST(%s AS bigint))"
)
_CHARGE = sa.text(
    """
    INSERT INTO rate_limits AS held (id, tat_ns)
    SELECT CAST(:id AS text), now_ns + CAST(:debt_ns AS bigint)
    FROM CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS bigint) AS now_ns
    ON CONFLICT (id) DO UPDATE SET tat_ns = excluded.tat_ns
        + greatest(held.tat_ns - (excluded.tat_ns - CAST(:debt_ns AS bigint)), 0)
    """
)
# What lies in the past means the same as no row.
_DELETE_FULL = sa.text(
    "DELETE FROM rate_limits "
    "WHERE tat_ns < CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS bigint)"
)


def admit(
    connection: sa.Connection, buckets: Sequence[Bucket], *, now_ns: int | None = None
) -> Verdict:
    """Charge every bucket, or none if one of them lacks the room; one round trip.

    ``now_ns`` replaces the database's clock, for tests.

    Raises
    ------
    sqlalchemy.exc.DBAPIError
        If the database fails: whether that admits or refuses is the caller's decision.
    """
    return verdict_of(buckets, admit_call(buckets, now_ns=now_ns).within(connection))


def admit_call(buckets: Sequence[Bucket], *, now_ns: int | None = None) -> Call:
    """Return the call that ``admit`` makes; ``verdict_of`` reads its row."""
    return Call(_ADMIT, (*arrays_of(buckets), None if now_ns is None else str(now_ns)))


def arrays_of(*requests: Sequence[Bucket]) -> tuple[str, str, str]:
    """Return ids, increments and windows as the database's functions take them: each bucket once,
    with what all ``requests`` together take from it.

    As text: the driver makes an array from a list character by character.
    """
    increments: dict[str, int] = {}
    windows: dict[str, int] = {}
    for bucket in (bucket for buckets in requests for bucket in buckets):
        name = bucket.id
        increments[name] = increments.get(name, 0) + bucket.increment_ns
        windows[name] = bucket.window_ns
    # One order for everybody, or two requests could wait for each other's bucket.
    ordered = sorted(increments)
    return (
        _array(_quoted(name) for name in ordered),
        _array(str(increments[name]) for name in ordered),
        _array(str(windows[name]) for name in ordered),
    )


def verdict_of(buckets: Sequence[Bucket], row: Row) -> Verdict:
    """Return what the database said of ``buckets``, at least one: whether they admit."""
    (verdict,) = verdicts_of([buckets], row)
    if verdict is None:
        raise ValueError("no buckets")
    return verdict


def verdicts_of(requests: Sequence[Sequence[Bucket]], row: Row) -> list[Verdict | None]:
    """Return what the database said of each of ``requests``, as if they had come one by one; None
    of one that takes nothing from any bucket.

    If together they were not admitted, nothing is known of each.
    """
    backlogs, admitted = row
    names = sorted({bucket.id for buckets in requests for bucket in buckets})
    found = map(int, str(backlogs)[1:-1].split(",")) if names else ()
    backlog_ns = dict(zip(names, found, strict=True))
    verdicts: list[Verdict | None] = []
    for buckets in requests:
        before = [backlog_ns[bucket.id] for bucket in buckets]
        verdicts.append(judge(buckets, before, admitted=admitted == "true") if buckets else None)
        for bucket in buckets:
            backlog_ns[bucket.id] += bucket.increment_ns
    return verdicts


def charge(connection: sa.Connection, bucket: Bucket, cost: int) -> None:
    """Correct what a bucket was charged by ``cost`` units, which may be negative.

    It never refuses: a bucket may run into debt, which later requests wait for.
    """
    connection.execute(_CHARGE, {"id": bucket.id, "debt_ns": cost * bucket.interval_ns})


def _array(elements: Iterable[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _quoted(element: str) -> str:
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


def delete_full(connection: sa.Connection) -> int:
    """Delete the buckets that are full again; return how many. Changes no outcome."""
    return connection.execute(_DELETE_FULL).rowcount
