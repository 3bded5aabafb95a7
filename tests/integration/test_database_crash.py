"""What a crash of the database takes, and what it cannot: decisions that no answer told of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from functions.gateway.outcomes import Decided, Ending, outcome_entry
from functions.gateway.repository import outcomes_call
from functions.models.service import register
from functions.policies.service import ensure_presets
from infra.local.migrate import upgrade
from infra.local.postgres import EmbeddedPostgres
from shared.config import Settings
from shared.db.engine import create_engine
from shared.db.tables import decisions, in_flight, outbox, outcomes
from shared.decisions.recorder import Recorded, begin_to_record, make_decision
from shared.decisions.snapshot import WorldCache
from shared.errors import DatabaseUnavailableError
from shared.kit.clock import utc_now
from shared.limits import Bucket
from shared.routing.types import Context
from shared.schemas.models import ModelCreate

BUCKETS = [Bucket("default", "key_x", 100, 60), Bucket("global", "all", 100, 60)]
MODEL = ModelCreate(
    id="test/small", provider="test", base_url="http://127.0.0.1:9/v1", upstream_name="small",
    input_usd_per_mtok=1.0, output_usd_per_mtok=1.0, context_tokens=8_192,
)  # fmt: skip


class Crashing:
    """A durable database whose log is flushed by those who wait for it, and by nobody else."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._server = EmbeddedPostgres(folder, durable=True)
        self._server.start()
        self.engine = self._connected()

    def prepare(self) -> None:
        upgrade(self._server.url)
        with self.engine.begin() as connection:
            ensure_presets(connection, {})
            register(connection, MODEL)

    def decide(self) -> Recorded:
        """Admit and decide, as the gateway does for an answer in one piece."""
        settings = Settings.model_validate({**self._environment, "DATABASE_URL": self._server.url})
        recorded = make_decision(
            WorldCache(self.engine, settings).get(), Context(text="x", tokens_in=1), settings,
            policy_name=None, requested_model="auto", caller="key_x", labels={}, text={},
        )  # fmt: skip
        self._stop_the_writer()
        verdict = begin_to_record(self.engine, BUCKETS, recorded, 60.0).result()
        assert verdict is not None and verdict.admitted
        return recorded

    def crash_and_start(self) -> None:
        with self.engine.connect() as connection:
            others = list(connection.scalars(sa.text("SELECT pid FROM pg_stat_activity")))
        postmaster = int((self._folder / "postmaster.pid").read_text().split()[0])
        for pid in (postmaster, *others):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.engine.dispose()
        self._server.stop()
        self._server.start()
        self.engine = self._connected()

    def count(self, table: sa.Table) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    def close(self) -> None:
        self.engine.dispose()
        self._server.stop()

    def _connected(self) -> sa.Engine:
        return create_engine(Settings.model_validate({"DATABASE_URL": self._server.url}))

    def _stop_the_writer(self) -> None:
        # It would flush what is not waited for within a fraction of a second.
        writer = sa.text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        with self.engine.connect() as connection:
            os.kill(int(connection.scalar(writer) or 0), signal.SIGSTOP)


@pytest.fixture
def database(tmp_path: Path, environment: dict[str, str]) -> Iterator[Crashing]:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder) not in {"/", "/tmp"}:  # noqa: S108
            folder.chmod(0o755)  # the server's user must be able to enter
    database = Crashing(tmp_path / "postgres", environment)
    database.prepare()
    yield database
    database.close()


def ending_of(recorded: Recorded) -> tuple[Decided, Ending]:
    decision = recorded.decision
    decided = Decided(recorded.id, decision.level, decision.model, recorded.policy.id, "stable")
    return decided, Ending([], decision.model, latency_ms=1.0, tokens_in=1, tokens_out=1)


def test_a_decision_that_a_crash_took_gets_no_outcome(database: Crashing) -> None:
    recorded = database.decide()
    assert database.count(decisions) == database.count(in_flight) == 1
    database.crash_and_start()
    assert database.count(decisions) == database.count(in_flight) == database.count(outbox) == 0
    call = outcomes_call([outcome_entry(*ending_of(recorded), utc_now())])
    with pytest.raises(DatabaseUnavailableError):
        call.alone(database.engine)
    assert database.count(outcomes) == database.count(outbox) == 0


def test_an_outcome_makes_its_decision_durable_too(database: Crashing) -> None:
    recorded = database.decide()
    call = outcomes_call([outcome_entry(*ending_of(recorded), utc_now())])
    assert call.alone(database.engine) == (f"{{{recorded.id}}}",)
    database.crash_and_start()
    assert database.count(decisions) == database.count(outcomes) == 1
    assert database.count(outbox) == 2 and database.count(in_flight) == 0
    assert call.alone(database.engine) == ("{}",), "the first writer has won"
    assert database.count(outcomes) == 1 and database.count(outbox) == 2
