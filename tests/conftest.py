"""Fixtures of every suite: a real PostgreSQL, migrated once per test process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from infra.local.migrate import upgrade
from infra.local.postgres import EmbeddedPostgres

# A busy machine is no fault of the code: how long an example takes fails no test. The examples are
# the same in every run, so that what is refused is what was changed; ``make fuzz`` seeks new ones.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True,
    derandomize="DAVINCI_FUZZ_EXAMPLES" not in os.environ,
)  # fmt: skip
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a migrated, otherwise empty database of this test process alone."""
    given = os.environ.get("DAVINCI_TEST_DATABASE_URL")
    if given:
        upgrade(given)
        yield given
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", durable=False) as server:
        upgrade(server.url)
        yield server.url


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()
