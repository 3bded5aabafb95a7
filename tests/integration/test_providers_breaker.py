"""Breakers shared through the database: by threads, by processes, with the registry."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from shared.config import Settings
from shared.db.engine import create_engine
from shared.db.tables import breakers, models
from shared.providers.breaker import Breakers, Permit, get_breakers, open_breakers
from shared.providers.circuit import FAILURES, OPEN_TIMES
from shared.providers.failures import ErrorClass, UpstreamCallError

MODEL = "test/small"


def error(error_class: ErrorClass, **more: Any) -> UpstreamCallError:
    return UpstreamCallError(error_class, "failed", **more)


@pytest.fixture
def many(database_url: str) -> Iterator[sa.Engine]:
    """An engine with connections for threads, and one registered model."""
    engine = create_engine(Settings(database_url=database_url, database_connections=8))
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE models CASCADE"))
        connection.execute(
            sa.insert(models).values(
                id=MODEL, provider="test", base_url="http://x", upstream_name="m",
                context_tokens=1_000,
            )
        )  # fmt: skip
    yield engine
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE models CASCADE"))
    engine.dispose()


def make_due(engine: sa.Engine) -> None:
    """Let the open time be over."""
    past = sa.func.clock_timestamp() - sa.text("interval '1 second'")
    with engine.begin() as connection:
        connection.execute(sa.update(breakers).values(open_until=past))


def row(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.select(breakers)).one_or_none()


def opened(engine: sa.Engine) -> Breakers:
    fresh = Breakers(engine, ttl_s=0)
    for _ in range(FAILURES):
        permit = fresh.admit(MODEL)
        assert permit is not None
        fresh.failed(permit, error("upstream-5xx", status=503))
    return fresh


def test_an_open_breaker_is_open_for_every_process(many: sa.Engine) -> None:
    first, second = opened(many), Breakers(many, ttl_s=0)
    assert first.admit(MODEL) is None and second.admit(MODEL) is None
    longest_s = OPEN_TIMES["availability"].first_s
    assert longest_s - 1 < second.open_for_s(MODEL) <= longest_s
    with many.connect() as connection:
        assert open_breakers(connection) == {MODEL}


def test_failures_of_two_processes_add_up_and_a_success_forgets_them(many: sa.Engine) -> None:
    first, second = Breakers(many, ttl_s=0), Breakers(many, ttl_s=0)
    for number in range(FAILURES - 1):
        (first, second)[number % 2].failed(Permit(MODEL), error("connect"))
    assert first.admit(MODEL) == Permit(MODEL)
    second.succeeded(Permit(MODEL))
    assert row(many) is None
    first.failed(Permit(MODEL), error("connect"))
    assert first.admit(MODEL) == Permit(MODEL)


def test_a_due_breaker_lets_one_probe_through_and_its_success_closes_it(many: sa.Engine) -> None:
    first, second = opened(many), Breakers(many, ttl_s=0)
    make_due(many)
    with many.connect() as connection:
        assert open_breakers(connection) == frozenset()
    probe = first.admit(MODEL)
    assert probe == Permit(MODEL, probe=True)
    assert first.admit(MODEL) is None and second.admit(MODEL) is None
    with many.connect() as connection:
        assert open_breakers(connection) == {MODEL}
    first.succeeded(probe)
    assert first.admit(MODEL) == second.admit(MODEL) == Permit(MODEL)
    assert row(many) is None


def test_a_failed_probe_opens_for_twice_as_long(many: sa.Engine) -> None:
    circuit = opened(many)
    make_due(many)
    probe = circuit.admit(MODEL)
    assert probe is not None
    circuit.failed(probe, error("connect"))
    assert circuit.admit(MODEL) is None
    first_s = OPEN_TIMES["availability"].first_s
    assert 2 * first_s - 1 < circuit.open_for_s(MODEL) <= 2 * first_s


def test_a_probe_that_learnt_nothing_is_given_back(many: sa.Engine) -> None:
    circuit = opened(many)
    make_due(many)
    probe = circuit.admit(MODEL)
    assert probe is not None
    circuit.released(probe)
    assert circuit.admit(MODEL) == Permit(MODEL, probe=True)


def test_a_probe_that_never_comes_back_is_followed_by_another(many: sa.Engine) -> None:
    circuit = opened(many)
    make_due(many)
    assert circuit.admit(MODEL) is not None
    past = sa.func.clock_timestamp() - sa.text("interval '1 second'")
    with many.begin() as connection:
        connection.execute(sa.update(breakers).values(probe_until=past))
    assert Breakers(many, ttl_s=0).admit(MODEL) == Permit(MODEL, probe=True)


@pytest.mark.parametrize("error_class", ["rejected", "content-filter"])
def test_a_provider_that_answers_is_well_whatever_it_says(
    many: sa.Engine, error_class: ErrorClass
) -> None:
    circuit = opened(many)
    make_due(many)
    probe = circuit.admit(MODEL)
    assert probe is not None
    circuit.failed(probe, error(error_class))
    assert circuit.admit(MODEL) == Permit(MODEL) and row(many) is None


def test_a_success_that_began_before_it_opened_does_not_close_it(many: sa.Engine) -> None:
    circuit = opened(many)
    circuit.succeeded(Permit(MODEL))
    assert circuit.admit(MODEL) is None


def test_who_mends_the_model_need_not_wait(many: sa.Engine) -> None:
    circuit = Breakers(many, ttl_s=0)
    circuit.failed(Permit(MODEL), error("auth", status=401))
    assert circuit.admit(MODEL) is None
    with many.begin() as connection:
        connection.execute(sa.update(models).values(updated_at=sa.func.clock_timestamp()))
    assert circuit.admit(MODEL) == Permit(MODEL)
    circuit.failed(Permit(MODEL), error("connect"))
    assert circuit.admit(MODEL) == Permit(MODEL)


def test_a_model_that_is_gone_has_no_breaker(many: sa.Engine) -> None:
    circuit = opened(many)
    with many.begin() as connection:
        connection.execute(sa.delete(models))
    assert row(many) is None
    circuit.failed(Permit(MODEL), error("auth", status=401))
    assert circuit.admit(MODEL) == Permit(MODEL)


def test_a_healthy_call_costs_no_statement(many: sa.Engine) -> None:
    statements: list[str] = []
    sa.event.listen(many, "before_cursor_execute", lambda *said: statements.append(said[2]))
    clock = iter(range(1_000))
    circuit = Breakers(many, ttl_s=10_000, now=lambda: float(next(clock)))
    for _ in range(20):
        permit = circuit.admit(MODEL)
        assert permit is not None
        circuit.succeeded(permit)
    assert len(statements) == 1


def test_without_a_database_nobodys_request_fails() -> None:
    nowhere = Settings(database_url="postgresql+pg8000://x@127.0.0.1:9/x", database_timeout_s=0.5)
    circuit = Breakers(create_engine(nowhere), ttl_s=0)
    permit = circuit.admit(MODEL)
    assert permit == Permit(MODEL)
    circuit.failed(permit, error("connect"))
    circuit.succeeded(Permit(MODEL, probe=True))
    circuit.released(Permit(MODEL, probe=True))


def test_a_process_has_one_set_of_breakers(environment: dict[str, str]) -> None:
    assert get_breakers() is get_breakers()


def test_of_many_threads_one_probes(many: sa.Engine) -> None:
    opened(many)
    for _ in range(5):
        make_due(many)
        with many.begin() as connection:
            connection.execute(sa.update(breakers).values(probe_until=None))
        views = [Breakers(many, ttl_s=0) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            permits = list(pool.map(lambda view: view.admit(MODEL), views))
        assert [permit for permit in permits if permit] == [Permit(MODEL, probe=True)]


def _admit_at(url: str, at: float, answers: Any) -> None:
    engine = create_engine(Settings(database_url=url))
    circuit = Breakers(engine, ttl_s=1_000)
    # Seen as due by all before any of them asks.
    circuit.open_for_s(MODEL)
    time.sleep(max(0.0, at - time.time()))
    answers.put(circuit.admit(MODEL))
    engine.dispose()


def test_of_many_processes_one_probes(many: sa.Engine, database_url: str) -> None:
    opened(many)
    make_due(many)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    at = time.time() + 3.0
    processes = [
        context.Process(target=_admit_at, args=(database_url, at, answers)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    permits = [answers.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(permits, key=bool) == [None, None, None, Permit(MODEL, probe=True)]
