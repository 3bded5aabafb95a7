"""Checks that everything acknowledged in the journal is in the system, exactly once.

It shares nothing with the driver but the journal's format: it asks PostgreSQL, or the public API
where no database URL is given, and prints what is missing or doubled by id.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa
from rich.console import Console

from infra.local.replay.calls import Backoff, Caller, GaveUpError, problem
from infra.local.replay.control import ControlError, ControlPlane
from infra.local.replay.display import make_console, say
from infra.local.replay.journal import Decided, JournalError, Judged, Record, read_records
from infra.local.replay.sender import FEEDBACK_SOURCE
from infra.local.replay.settings import SettingsError, VerifySettings

_PREFIX = "dec_"
_CHUNK = 1000
_RECHECK_S = 0.5
_IDS_SHOWN = 20

_DECISIONS = sa.text("SELECT id, count(*) FROM decisions WHERE id = ANY(:ids) GROUP BY id")
_OUTCOMES = sa.text(
    "SELECT decision_id, count(*) FROM outcomes WHERE decision_id = ANY(:ids) GROUP BY decision_id"
)
_FEEDBACK = sa.text(
    "SELECT decision_id, count(*) FROM feedback"
    " WHERE decision_id = ANY(:ids) AND source = :source GROUP BY decision_id"
)


@dataclass(frozen=True, slots=True)
class Held:
    """How often the system holds each decision, outcome and feedback, by decision id."""

    decisions: dict[str, int]
    outcomes: dict[str, int]
    feedback: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """The differences between what was acknowledged and what is held; sorted decision ids.

    ``journal_repeats`` are ids that the journal itself holds twice: one decision was handed out
    for two requests.
    """

    decisions: int
    feedback: int
    missing_decisions: Sequence[str]
    doubled_decisions: Sequence[str]
    missing_outcomes: Sequence[str]
    doubled_outcomes: Sequence[str]
    missing_feedback: Sequence[str]
    doubled_feedback: Sequence[str]
    journal_repeats: Sequence[str]

    @property
    def differences(self) -> Mapping[str, Sequence[str]]:
        """The sets of ids, by name."""
        return {
            name: value for name, value in asdict(self).items() if isinstance(value, list | tuple)
        }

    @property
    def is_clean(self) -> bool:
        """Whether everything acknowledged is there exactly once."""
        return not any(self.differences.values())


def run_verify(settings: VerifySettings) -> int:
    """Print the report; 0 if it is clean, 1 if not, 2 if the check could not be made."""
    console = make_console(stderr=settings.json)
    try:
        report = verify(settings, console=console)
    except FileNotFoundError as error:
        say(console, f"verify: nothing was replayed yet: {error}")
        return 2
    except (
        GaveUpError,
        ControlError,
        JournalError,
        SettingsError,
        OSError,
        sa.exc.SQLAlchemyError,
    ) as error:
        say(console, f"verify: {error}")
        return 2
    if settings.json:
        sys.stdout.write(json.dumps({"clean": report.is_clean, **asdict(report)}, indent=2) + "\n")
    else:
        _print(console, report)
    return 0 if report.is_clean else 1


def verify(
    settings: VerifySettings,
    *,
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Report:
    """Compare the journal with the system; wait up to ``wait_s`` for rows still being written."""
    records = read_records(settings.journal_path)
    ids = sorted({record.decision_id for record in records if isinstance(record, Decided)})
    deadline = monotonic() + settings.wait_s
    with console.status(f"checking {len(ids):,} decisions"):
        while True:
            report = compare(records, _held(settings, ids))
            if report.is_clean or monotonic() >= deadline:
                return report
            sleep(_RECHECK_S)


def compare(records: Iterable[Record], held: Held) -> Report:
    """Return the differences between acknowledged records and what the system holds."""
    decided: Counter[str] = Counter()
    judged: set[str] = set()
    for record in records:
        if isinstance(record, Decided):
            decided[record.decision_id] += 1
        elif isinstance(record, Judged):
            judged.add(record.decision_id)
    return Report(
        decisions=len(decided),
        feedback=len(judged),
        missing_decisions=_missing(decided, held.decisions),
        doubled_decisions=_doubled(decided, held.decisions),
        missing_outcomes=_missing(decided, held.outcomes),
        doubled_outcomes=_doubled(decided, held.outcomes),
        missing_feedback=_missing(judged, held.feedback),
        doubled_feedback=_doubled(judged, held.feedback),
        journal_repeats=sorted(name for name, count in decided.items() if count > 1),
    )


def held_in_database(url: str, ids: Sequence[str]) -> Held:
    """Count the rows of the decisions, outcomes and replay feedback with these decision ids."""
    by_uuid = {uuid: name for name in ids if (uuid := _uuid(name)) is not None}
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:

            def count(query: sa.TextClause, **more: str) -> dict[str, int]:
                query = query.bindparams(sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid())))
                found: dict[str, int] = {}
                for chunk in _chunks(list(by_uuid)):
                    for uuid, number in connection.execute(query, {"ids": chunk, **more}):
                        found[by_uuid[uuid]] = number
                return found

            return Held(
                decisions=count(_DECISIONS),
                outcomes=count(_OUTCOMES),
                feedback=count(_FEEDBACK, source=FEEDBACK_SOURCE),
            )
    finally:
        engine.dispose()


async def held_behind_api(settings: VerifySettings, ids: Sequence[str]) -> Held:
    """Read each decision through the public API.

    The API can show that something is missing, or that one decision has two feedbacks of one
    source; two rows with one id look like one, so the database is the stricter witness.
    """
    held = Held({}, {}, {})
    backoff = Backoff(settings.patience_s)
    limits = httpx.Limits(max_connections=settings.concurrency)
    async with httpx.AsyncClient(
        base_url=settings.public_url, timeout=30.0, limits=limits, trust_env=False
    ) as client:
        control = ControlPlane(
            Caller(client, backoff), home=settings.home, password=settings.admin_password
        )
        waiting = iter(ids)

        async def work() -> None:
            for name in waiting:
                response = await control.request("GET", f"/api/neural/decisions/{name}")
                if response.status_code == 200:
                    _count(held, name, response.json())
                elif response.status_code != 404:
                    raise ControlError(f"cannot read {name}: {problem(response)}")

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(settings.concurrency):
                    workers.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
    return held


def _held(settings: VerifySettings, ids: Sequence[str]) -> Held:
    if settings.database_url:
        return held_in_database(settings.database_url, ids)
    return asyncio.run(held_behind_api(settings, ids))


def _count(held: Held, name: str, decision: Mapping[str, Any]) -> None:
    held.decisions[name] = 1
    held.outcomes[name] = int(bool(decision.get("outcome")))
    found = decision.get("feedback") or []
    every = found if isinstance(found, list) else [found]
    held.feedback[name] = sum(item.get("source") == FEEDBACK_SOURCE for item in every)


def _missing(wanted: Iterable[str], held: Mapping[str, int]) -> list[str]:
    return sorted(name for name in wanted if not held.get(name))


def _doubled(wanted: Iterable[str], held: Mapping[str, int]) -> list[str]:
    return sorted(name for name in wanted if held.get(name, 0) > 1)


def _uuid(decision_id: str) -> UUID | None:
    """Return the UUID inside an id; None for text that is none, which is then missing."""
    try:
        return UUID(decision_id.removeprefix(_PREFIX))
    except ValueError:
        return None


def _chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _print(console: Console, report: Report) -> None:
    say(
        console,
        f"verify: {report.decisions:,} acknowledged decisions, {report.feedback:,} feedbacks",
    )
    for name, ids in report.differences.items():
        if not ids:
            continue
        say(console, f"{name.replace('_', ' ')}: {len(ids):,}")
        for decision_id in ids[:_IDS_SHOWN]:
            say(console, f"  {decision_id}")
        if len(ids) > _IDS_SHOWN:
            say(console, f"  and {len(ids) - _IDS_SHOWN:,} more (--json lists them all)")
    if report.is_clean:
        say(console, "every decision, outcome and feedback is in the system exactly once")
