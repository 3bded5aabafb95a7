"""The gateway as its users meet it: the container host under a real server, before a fake model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from openai.types.chat import ChatCompletionMessageParam

from shared.db.tables import decisions, metadata, outbox, outcomes
from shared.kit.ids import DECISION, parse
from tests.fakes.upstream import Behaviour, FakeUpstream
from tests.integration.conftest import ADMIN, process_with
from tests.integration.container import served

_SETTLED_WITHIN_S = 10.0
MODEL = "acme/talker"
SAYS: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
OBJECTIVES = {"quality_value_usd": 0.01, "latency_cost_usd_per_s": 0.0001}


@dataclass(frozen=True)
class Gateway:
    """A running gateway with an administrator's session and one API key for /v1."""

    url: str
    key: str
    admin: httpx.Client
    upstream: FakeUpstream
    engine: sa.Engine

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.url}/v1"

    def client(self) -> httpx.Client:
        """Return a plain HTTP client that holds the API key."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30,
            trust_env=False,
        )  # fmt: skip

    def register(self, model_id: str, **more: Any) -> None:
        """Register a model at the fake upstream, named there as here."""
        body = {
            "id": model_id, "provider": "test", "base_url": self.upstream.url,
            "upstream_name": model_id, "input_usd_per_mtok": 0.25, "output_usd_per_mtok": 1.25,
            "context_tokens": 128_000, "modalities": ["text", "image"], **more,
        }  # fmt: skip
        self._created("/api/models", body)

    def add_policy(self, name: str, primary: str, fallbacks: list[str]) -> None:
        """Make a policy that always tries ``primary`` first and then ``fallbacks``."""
        level = {
            **OBJECTIVES, "models": [primary, *fallbacks], "primary": primary,
            "fallbacks": fallbacks, "strategy": "greedy",
        }  # fmt: skip
        document = {"levels": dict.fromkeys(("L1", "L2", "L3", "L4"), level)}
        self._created("/api/policies", {"name": name, "document": document})

    def make_key(self, **more: Any) -> str:
        """Create an API key and return its secret."""
        wanted = {"name": "conformance", "scopes": ["chat"], **more}
        return str(self._created("/api/keys", wanted)["secret"])

    def outcome(self, decision_id: str) -> Mapping[str, Any]:
        """Return the decision's one outcome, told by one event; what a client left is settled soon
        after.
        """
        query = sa.select(outcomes).where(outcomes.c.decision_id == parse(DECISION, decision_id))
        events = sa.select(sa.func.count()).where(
            outbox.c.detail_type == "OutcomeRecorded",
            outbox.c.data["decision_id"].astext == decision_id,
        )
        ends_at = time.monotonic() + _SETTLED_WITHIN_S
        while True:
            with self.engine.connect() as connection:
                found = connection.execute(query).mappings().all()
                told = connection.scalar(events)
            if found:
                assert len(found) == told == 1
                return dict(found[0])
            assert time.monotonic() < ends_at, f"{decision_id} has no outcome"
            time.sleep(0.02)

    def last_decision(self) -> str:
        """Return the id of the newest decision, for clients that saw no header."""
        with self.engine.connect() as connection:
            newest = connection.scalar(sa.select(decisions.c.id).order_by(decisions.c.id.desc()))
        assert newest is not None
        return f"dec_{newest.hex}"

    def _created(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = self.admin.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()


@contextmanager
def running_gateway(
    database_url: str, engine: sa.Engine, folder: Path, **settings: str
) -> Iterator[Gateway]:
    """Run the container host on an emptied database; ``settings`` name ``DAVINCI_*`` variables."""
    secret = folder / "signing-keys.json"
    secret.write_text(json.dumps({"current": "for tests only", "previous": ""}))
    values = {
        "DATABASE_URL": database_url,
        "DAVINCI_DATABASE_CONNECTIONS": "8",
        "DAVINCI_SIGNING_KEYS": f"file:{secret}",
        "DAVINCI_SNAPSHOT_TTL_S": "0",
        "DAVINCI_CREDENTIAL_TTL_S": "0",
        "DAVINCI_LOG_LEVEL": "ERROR",
        **{f"DAVINCI_{name.upper()}": value for name, value in settings.items()},
    }
    _empty(engine)
    upstream = FakeUpstream()
    with upstream.running(), process_with(values), served() as url:
        _ensure_administrator()
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as admin:
            body = {"email": ADMIN[0], "password": ADMIN[1]}
            login = admin.post("/api/auth/login", json=body)
            assert login.status_code == 200, login.text
            admin.headers["authorization"] = f"Bearer {login.json()['access_token']}"
            gateway = Gateway(url, "", admin, upstream, engine)
            yield replace(gateway, key=gateway.make_key())


def _ensure_administrator() -> None:
    from functions.auth.service import ensure_user
    from functions.policies.service import ensure_presets
    from shared.db.engine import get_engine, transaction

    with transaction(get_engine()) as connection:
        ensure_user(connection, *ADMIN, role="admin")
        ensure_presets(connection, {})


def _empty(engine: sa.Engine) -> None:
    names = ", ".join(t.name for t in metadata.sorted_tables if t.name != "event_sequence")
    with engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} CASCADE"))
        connection.execute(sa.text("UPDATE event_sequence SET value = 0"))


def says(gateway: Gateway, behaviour: Behaviour) -> None:
    gateway.upstream.behaviours[MODEL] = behaviour


def sent(gateway: Gateway) -> dict[str, Any]:
    """Return the last request as the provider got it."""
    return gateway.upstream.requests[-1]


def decision_of(response: Any) -> str:
    return str(response.headers["x-davinci-decision-id"])
