"""kill -9 between a durable decision and its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.db.tables import decisions, outbox, outcomes
from tests.fakes.lambda_client import LambdaClient, invoke_worker
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import TakesAll

ROOT = Path(__file__).parents[2]
CALL = """
import json, sys
from pathlib import Path
from tests.fakes.lambda_client import LambdaClient
client = LambdaClient(Path("template.yaml"), sys.argv[1])
client.post("/v1/chat/completions", json.loads(sys.argv[2]))
print("answered", flush=True)
"""


def test_a_decision_outlives_the_process_that_made_it(
    make_key: Callable[..., LambdaClient], registry: list[str], upstream: FakeUpstream,
    environment: dict[str, str], engine: sa.Engine, takes_all: TakesAll,
) -> None:  # fmt: skip
    client = make_key("chat", "read", "feedback")
    called, hold = threading.Event(), threading.Event()

    def stall(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
        called.set()
        hold.wait(20)
        handler.close_connection = True

    upstream.behaviours = {"small": stall, "large": stall}
    chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, str(client.token), json.dumps(chat)],
        cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert called.wait(20)  # the provider was called, so the decision has been committed
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        hold.set()
    assert b"answered" not in out

    with engine.connect() as connection:
        (decision_id,) = connection.scalars(sa.select(decisions.c.id))
        assert connection.scalar(sa.select(sa.func.count()).select_from(outcomes)) == 0
        (event,) = connection.execute(sa.select(outbox.c.detail_type, outbox.c.data))
    assert event.detail_type == "NeuralRouteCompleted"
    assert event.data["decision_id"] == f"dec_{decision_id.hex}"

    upstream.reset()
    shown = client.get(f"/api/neural/decisions/dec_{decision_id.hex}").json()
    assert shown["outcome"] is None
    assert client.post("/v1/chat/completions", chat).status == 200
    invoke_worker("events", {})
    invoke_worker("learning", {"Records": []})
    told = client.get("/api/learning/metrics", {"window": "1h"}).json()
    assert (told["requests"], told["successes"], told["failures"]) == (2, 1, 0)
