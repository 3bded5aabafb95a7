"""The independent check, against the API and against PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from infra.local.replay.driver import run_replay
from infra.local.replay.journal import Decided, Judged, encode, read_records
from infra.local.replay.settings import ReplaySettings, VerifySettings
from infra.local.replay.verify import run_verify
from shared.db.tables import decisions, feedback, outcomes
from shared.kit.clock import utc_now
from shared.kit.ids import uuid7
from tests.unit.replay.records import make_decided, make_judged

from .fake_system import PASSWORD, FakeSystem

# Something of each type for the columns that the check does not look at.
ANYTHING: dict[type, Any] = {
    str: "x", float: 0.5, int: 1, bool: False, object: {}, UUID: UUID(int=1),
}  # fmt: skip


class TestBehindTheApi:
    @pytest.fixture
    def check(self, settings: ReplaySettings) -> VerifySettings:
        """A finished replay, and the settings of its check."""
        assert run_replay(settings) == 0
        return VerifySettings(
            public_url=settings.public_url,
            home=settings.home,
            admin_password=PASSWORD,
            wait_s=0.0,
            patience_s=2.0,
            json=True,
        )

    @pytest.fixture
    def ids(self, check: VerifySettings) -> list[str]:
        records = read_records(check.journal_path)
        return [row.decision_id for row in records if isinstance(row, Decided)]

    def test_a_whole_replay_is_clean(
        self, check: VerifySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert run_verify(check) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["clean"], found["decisions"], found["feedback"]) == (True, 60, 60)

    def test_what_was_lost_is_named(
        self,
        check: VerifySettings,
        ids: list[str],
        system: FakeSystem,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        del system.decisions[ids[0]]
        system.decisions[ids[1]]["outcome"] = None
        system.feedback[ids[2], "replay"] = 0
        system.feedback[ids[3], "replay"] = 2
        capsys.readouterr()
        assert run_verify(check) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["clean"] is False
        assert found["missing_decisions"] == [ids[0]]
        assert found["missing_outcomes"] == sorted(ids[:2])
        assert found["missing_feedback"] == sorted([ids[0], ids[2]])
        assert found["doubled_feedback"] == [ids[3]]

    def test_a_system_that_is_not_there_is_no_verdict(
        self, check: VerifySettings, system: FakeSystem
    ) -> None:
        system.stop()
        assert run_verify(check) == 2


def test_without_a_journal_there_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verify(VerifySettings(home=tmp_path)) == 2
    assert "nothing was replayed yet" in capsys.readouterr().out


def insert(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    """Insert a row; columns that must have a value and are not given get anything."""
    for column in table.columns:
        if column.name not in values and not column.nullable and column.server_default is None:
            instant = isinstance(column.type, sa.DateTime)
            values[column.name] = utc_now() if instant else ANYTHING[column.type.python_type]
    connection.execute(table.insert().values(values))


class TestInTheDatabase:
    @pytest.fixture
    def ids(self, engine: sa.Engine, tmp_path: Path) -> Iterator[list[UUID]]:
        """Five decisions, acknowledged and stored with outcome and feedback."""
        ids = [uuid7() for _ in range(5)]
        with engine.begin() as connection:
            for each in ids:
                insert(connection, decisions, id=each)
                insert(connection, outcomes, decision_id=each, status="success")
                insert(connection, feedback, decision_id=each, source="replay")
                insert(connection, feedback, decision_id=each, source="someone else")
        records: list[Decided | Judged] = []
        for sequence, each in enumerate(ids):
            made = make_decided(sequence, decision_id=f"dec_{each}")
            records += [made, make_judged(made)]
        folder = tmp_path / "replay"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(map(encode, records)))
        yield ids
        with engine.begin() as connection:
            for table, column in ((feedback, "decision_id"), (outcomes, "decision_id"),
                                  (decisions, "id")):  # fmt: skip
                connection.execute(table.delete().where(table.c[column].in_(ids)))

    @pytest.fixture
    def check(self, tmp_path: Path, database_url: str) -> VerifySettings:
        return VerifySettings(home=tmp_path, database_url=database_url, wait_s=0.0)

    def test_everything_once_is_clean(
        self, ids: list[UUID], check: VerifySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_verify(check) == 0
        assert "exactly once" in capsys.readouterr().out
        assert len(ids) == 5

    def test_what_was_lost_is_named(
        self,
        ids: list[UUID],
        check: VerifySettings,
        engine: sa.Engine,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with engine.begin() as connection:
            connection.execute(decisions.delete().where(decisions.c.id == ids[0]))
            connection.execute(outcomes.delete().where(outcomes.c.decision_id == ids[1]))
            of_replay = (feedback.c.decision_id == ids[2]) & (feedback.c.source == "replay")
            connection.execute(feedback.delete().where(of_replay))
        assert run_verify(check) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[1:] == [
            "missing decisions: 1", f"  dec_{ids[0]}",
            "missing outcomes: 1", f"  dec_{ids[1]}",
            "missing feedback: 1", f"  dec_{ids[2]}",
        ]  # fmt: skip

    def test_an_id_that_is_no_id_is_missing(
        self, ids: list[UUID], check: VerifySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with check.journal_path.open("ab") as journal:
            journal.write(encode(make_decided(9, decision_id="dec_nonsense")))
        assert run_verify(check) == 1
        assert "dec_nonsense" in capsys.readouterr().out
        assert len(ids) == 5

    def test_a_database_that_is_not_there_is_no_verdict(
        self, ids: list[UUID], check: VerifySettings
    ) -> None:
        nowhere = "postgresql+pg8000://nobody@/nothing?unix_sock=/nonexistent/.s.PGSQL.5432"
        elsewhere = VerifySettings(home=check.home, database_url=nowhere)
        assert run_verify(elsewhere) == 2
        assert len(ids) == 5
