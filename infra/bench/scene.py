"""A furnished database: the presets, the recorded models, a trained learner, an API key."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from functions.auth import keys
from functions.models import service as models
from functions.policies import service as policies
from infra.local.migrate import upgrade
from infra.local.postgres import EmbeddedPostgres
from infra.local.replay.control import model_body
from infra.local.replay.traffic import LEVEL_OF_TASK, TOKENS_OUT, Traffic
from shared.audit import SYSTEM
from shared.config import Settings
from shared.db.tables import learner_states
from shared.routing.learner import LearnerState
from shared.routing.observations import FeedbackObservation, Observation, OutcomeObservation
from shared.schemas.auth import KeyCreate
from shared.schemas.models import ModelCreate

KILOBYTE = 1024
# One key does a whole bench's work, so its limits are raised; admission itself stays in the way.
WIDE_LIMITS = {
    "DAVINCI_RATE_LIMIT_GLOBAL_PER_MINUTE": "100000000",
    "DAVINCI_RATE_LIMIT_CALLER_PER_MINUTE": "100000000",
}
_TRAINED_ON = 3_000
_NOWHERE = "http://127.0.0.1:9/v1"
_THEN = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def database() -> Iterator[str]:
    """Start an empty PostgreSQL of the current schema, as durable as a real one; yield its URL."""
    with (
        tempfile.TemporaryDirectory(prefix="davinci-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        # The server's user must be able to enter.
        Path(folder).chmod(0o755)
        upgrade(server.url)
        yield server.url


def furnish(database_url: str, traffic: Traffic) -> str:
    """Register the recorded models, store a trained learner; return an API key's secret."""
    settings = Settings(database_url=SecretStr(database_url))
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        policies.ensure_presets(connection, dict(LEVEL_OF_TASK))
        for model in traffic.models:
            models.register(connection, ModelCreate(**model_body(model, _NOWHERE)))
        state = trained_learner(traffic)
        connection.execute(
            sa.insert(learner_states).values(
                version=1, state=state.to_json(), updates=state.n_updates
            )
        )
        wanted = KeyCreate(name="bench", scopes=["route", "read", "chat"])
        key = keys.create(connection, settings, wanted, SYSTEM)
    engine.dispose()
    return key.secret


def trained_learner(traffic: Traffic) -> LearnerState:
    """Return what a learner knows after some thousand answers, one model after the other."""
    told: list[Observation] = []
    for place in range(_TRAINED_ON):
        row, index = traffic.at(place, seed=0), place % len(traffic.models)
        model, cost = traffic.models[index].id, traffic.cost_usd(row, index)
        latency = float(traffic.latency_ms(row, index))
        told += [
            OutcomeObservation(
                row.level, row.task, model, cost, latency, TOKENS_OUT, True, _THEN, row.tokens_in
            ),
            FeedbackObservation(row.level, row.task, model, (), row.quality[index], 1.0, _THEN),
        ]
    return LearnerState.empty().fold(told)


def route_bodies(traffic: Traffic, n_bodies: int) -> list[bytes]:
    """Return bodies for ``POST /api/neural/route``: a recorded prompt, then one of 1 kB, ..."""
    return [
        json.dumps({"prompt": prompt, "task_type": task}).encode()
        for prompt, task in prompts(traffic, n_bodies)
    ]


def prompts(traffic: Traffic, n_prompts: int) -> Sequence[tuple[str, str | None]]:
    """Return prompts with their task: as recorded with it, then joined up to 1 kB without one."""
    found: list[tuple[str, str | None]] = []
    place = 0
    while len(found) < n_prompts:
        row = traffic.at(place, seed=1)
        place += 1
        found.append((row.prompt, row.task))
        text = row.prompt
        while len(text) < KILOBYTE:
            text += "\n\n" + traffic.at(place, seed=1).prompt
            place += 1
        found.append((text[:KILOBYTE], None))
    return found[:n_prompts]
