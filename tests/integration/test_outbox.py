"""An event exists if and only if its transaction committed, and is published at least once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
from botocore.stub import Stubber
from moto import mock_aws

from shared.db.tables import outbox
from shared.errors import UnavailableError
from shared.events.bus import BusUnavailableError, Entry, EventBridgeBus, LocalBus
from shared.events.contracts import FeedbackRecordedV1
from shared.events.outbox import add_event
from shared.events.relay import number_committed, relay_once
from shared.kit.clock import utc_now
from tests.fakes.threads import at_once
from tests.integration.conftest import TakesAll

pytestmark = pytest.mark.usefixtures("environment", "clean_database")
ENTRY = Entry("davinci.learning", "FeedbackRecorded", '{"n": 1}', "2026-11-22T10:00:00+00:00")


@pytest.fixture
def pool(database_url: str) -> Iterator[sa.Engine]:
    from shared.config import Settings
    from shared.db.engine import create_engine

    values = {"DATABASE_URL": database_url, "database_connections": 8}
    engine = create_engine(Settings.model_validate(values))
    yield engine
    engine.dispose()


def event(n: int = 1) -> FeedbackRecordedV1:
    return FeedbackRecordedV1(
        decision_id="dec_" + "0" * 32, level="L1", model="m", policy_version_id="p", track="stable",
        served_by="m", feedback_source=f"s{n}", score=0.5, reward_usd=0.1, propensity=0.5,
    )  # fmt: skip


def write(engine: sa.Engine, n: int) -> None:
    with engine.begin() as connection:
        for index in range(n):
            add_event(connection, event(index), utc_now())


def state(engine: sa.Engine) -> list[tuple[int | None, bool]]:
    columns = sa.select(outbox.c.sequence, outbox.c.published_at.is_not(None))
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(columns.order_by(outbox.c.sequence))]


class Refuses:
    """A bus that refuses the entries at these places of each call, then gets better."""

    def __init__(self, *places: int, calls: int = 1) -> None:
        self.places = places
        self.calls = calls
        self.taken: list[int] = []

    def put(self, entries: Sequence[Entry]) -> list[bool]:
        self.calls -= 1
        said = [self.calls < 0 or index not in self.places for index in range(len(entries))]
        details = [json.loads(e.detail)["sequence"] for e in entries]
        self.taken += [sequence for sequence, ok in zip(details, said, strict=True) if ok]
        return said


class Down:
    def put(self, entries: Sequence[Entry]) -> list[bool]:
        raise BusUnavailableError("no answer")


def test_a_rolled_back_change_tells_nothing(engine: sa.Engine) -> None:
    with pytest.raises(RuntimeError, match="later"), engine.begin() as connection:  # noqa: PT012
        add_event(connection, event(), utc_now())
        raise RuntimeError("later in the transaction")
    assert relay_once(engine, TakesAll(), utc_now()) == (0, 0)
    assert state(engine) == []


def test_a_change_in_progress_is_not_told_yet_and_numbered_after_those_before(
    engine: sa.Engine, pool: sa.Engine
) -> None:
    """Its id is older than the others', its sequence is not: readers look only forward."""
    with engine.connect() as slow:
        add_event(slow, event(1), utc_now())
        write(engine, 2)
        assert relay_once(pool, TakesAll(), utc_now()) == (2, 2)
        slow.commit()
    bus = TakesAll()
    assert relay_once(pool, bus, utc_now()) == (1, 1)
    assert bus.sequences("FeedbackRecorded") == [3]


def test_a_crash_between_numbering_and_publishing_loses_and_renumbers_nothing(
    engine: sa.Engine,
) -> None:
    write(engine, 3)
    with pytest.raises(BusUnavailableError):
        relay_once(engine, Down(), utc_now())
    assert state(engine) == [(1, False), (2, False), (3, False)]
    bus = TakesAll()
    assert relay_once(engine, bus, utc_now()) == (0, 3)
    assert bus.sequences("FeedbackRecorded") == [1, 2, 3]


def test_a_crash_while_numbering_uses_up_no_number(engine: sa.Engine) -> None:
    write(engine, 2)
    with engine.connect() as connection:
        assert number_committed(connection) == 2
        connection.rollback()
    assert relay_once(engine, TakesAll(), utc_now()) == (2, 2)
    assert state(engine) == [(1, True), (2, True)]


def test_only_what_was_refused_is_sent_again(engine: sa.Engine) -> None:
    write(engine, 25)
    bus = Refuses(0, 9, calls=3)
    assert relay_once(engine, bus, utc_now()) == (25, 20)
    assert [s for s, published in state(engine) if not published] == [1, 10, 11, 20, 21]
    assert relay_once(engine, bus, utc_now()) == (0, 5)
    assert sorted(bus.taken) == list(range(1, 26))


def test_two_relays_publish_each_event_once(engine: sa.Engine, pool: sa.Engine) -> None:
    write(engine, 450)
    bus = TakesAll()
    results = at_once(2, lambda _: relay_once(pool, bus, utc_now()))
    relay_once(pool, bus, utc_now())
    assert sum(numbered for numbered, _ in results) == 450
    assert sorted(bus.sequences("FeedbackRecorded")) == list(range(1, 451))


def test_numbers_are_dense_while_writers_commit(engine: sa.Engine, pool: sa.Engine) -> None:
    def work(index: int) -> None:
        for _ in range(10):
            if index < 4:
                write(pool, 3)
            else:
                relay_once(pool, TakesAll(), utc_now())

    at_once(6, work)
    relay_once(pool, TakesAll(), utc_now())
    assert state(engine) == [(n, True) for n in range(1, 121)]


def test_an_entry_is_what_eventbridge_consumers_are_promised(engine: sa.Engine) -> None:
    write(engine, 1)
    bus = TakesAll()
    relay_once(engine, bus, utc_now())
    (entry,) = bus.entries
    detail = json.loads(entry.detail)
    assert (entry.source, entry.detail_type) == ("davinci.learning", "FeedbackRecorded")
    assert {"event_id", "occurred_at", "version", "data"} <= set(detail)
    FeedbackRecordedV1.model_validate(detail["data"])
    assert datetime.fromisoformat(detail["occurred_at"]).tzinfo is not None
    assert len(entry.detail) < 200_000


class TestEventBridge:
    @pytest.fixture
    def client(self) -> Any:
        return boto3.client(
            "events", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
        )

    def test_a_partial_failure_names_the_refused(self, client: Any) -> None:
        results = [{"EventId": "1"}, {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}]
        expected = {"Entries": [ENTRY.as_put_events("bus")] * 2}
        with Stubber(client) as stub:
            stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": results}, expected)
            assert EventBridgeBus("bus", client).put([ENTRY, ENTRY]) == [True, False]

    def test_a_failed_call_is_told_as_unavailable(self, client: Any) -> None:
        with Stubber(client) as stub:
            stub.add_client_error("put_events", "InternalException", http_status_code=500)
            with pytest.raises(UnavailableError):
                EventBridgeBus("bus", client).put([ENTRY])

    def test_amazons_parameter_checks_take_our_entries(self, engine: sa.Engine) -> None:
        write(engine, 12)
        with mock_aws():
            events = boto3.client("events", "eu-west-1")
            events.create_event_bus(Name="davinci-test")
            assert relay_once(engine, EventBridgeBus("davinci-test", events), utc_now()) == (12, 12)


def test_a_local_cloud_that_is_gone_is_unavailable() -> None:
    with pytest.raises(BusUnavailableError):
        LocalBus("http://127.0.0.1:9", "token", "bus").put([ENTRY])


def test_time_of_an_entry_is_an_instant() -> None:
    assert datetime.fromisoformat(ENTRY.as_put_events("b")["Time"]) == datetime(
        2026, 11, 22, 10, tzinfo=UTC
    )
