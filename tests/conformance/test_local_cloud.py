"""OpenAI's client against the whole system as `davinci run` starts it: Lambda's events and limits,
a streaming function behind its adapter, everything in processes of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest
from openai import OpenAI

from tests.conformance.harness import MODEL, SAYS
from tests.e2e.system import PASSWORD, System, free_ports
from tests.fakes.streaming import DONE, delta, finish, in_band_error, role, until, usage
from tests.fakes.upstream import FakeUpstream, answer, error, stream
from tests.integration.conftest import ADMIN

WAIT_S = 20.0


@dataclass(frozen=True)
class Cloud:
    client: OpenAI
    upstream: FakeUpstream
    admin: httpx.Client


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("cloud")
    home.parent.chmod(0o755)  # the database's user must be able to enter
    home.chmod(0o755)
    system, upstream = System(home, free_ports(), 0, mode="off"), FakeUpstream()
    system.start()
    try:
        with upstream.running(), httpx.Client(base_url=system.url, timeout=WAIT_S) as admin:
            login = admin.post(
                "/api/auth/login", json={"email": ADMIN[0], "password": PASSWORD}
            ).raise_for_status()
            admin.headers["authorization"] = f"Bearer {login.json()['access_token']}"
            key = admin.post("/api/keys", json={"name": "conformance", "scopes": ["chat"]})
            for model, modality in ((MODEL, "text"), ("acme/embedder", "embeddings")):
                body = {
                    "id": model, "provider": "test", "base_url": upstream.url,
                    "upstream_name": model, "input_usd_per_mtok": 0.25,
                    "output_usd_per_mtok": 1.25, "context_tokens": 128_000,
                    "modalities": [modality],
                }  # fmt: skip
                admin.post("/api/models", json=body).raise_for_status()
            secret = key.raise_for_status().json()["secret"]
            with OpenAI(
                base_url=f"{system.url}/v1", api_key=secret, max_retries=0, timeout=WAIT_S
            ) as client:
                yield Cloud(client, upstream, admin)
    finally:
        system.interrupt()


@pytest.fixture
def cloud(running: Cloud) -> Cloud:
    """The system, whose model says hello unless a test says otherwise."""
    running.upstream.reset()
    hello = answer("Hello there, friend.", prompt_tokens=11, completion_tokens=7)
    running.upstream.behaviours[MODEL] = hello
    return running


def test_models_chats_and_embeddings(cloud: Cloud) -> None:
    assert {"auto", MODEL} <= {model.id for model in cloud.client.models.list()}
    raw = cloud.client.chat.completions.with_raw_response.create(model="auto", messages=SAYS)
    done = raw.parse()
    assert done.choices[0].message.content == "Hello there, friend."
    assert done._request_id == raw.headers["x-request-id"]
    decision = raw.headers["x-davinci-decision-id"]
    outcome = cloud.admin.get(f"/api/neural/decisions/{decision}").json()["outcome"]
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (11, 7)
    made = cloud.client.embeddings.create(model="acme/embedder", input=["one", "two"])
    assert [item.embedding for item in made.data] == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]


def test_pieces_arrive_as_they_are_said(cloud: Cloud) -> None:
    """The model waits for each piece to be read before it says the next: nothing is held back."""
    heard = [threading.Event() for _ in range(3)]
    script = [step for n in range(3) for step in (delta(f"{n} "), until(heard[n]))]
    cloud.upstream.behaviours[MODEL] = stream(role(), *script, finish(), usage(4, 3), DONE)
    said, total = "", 0
    for piece in cloud.client.chat.completions.create(
        model=MODEL, messages=SAYS, stream=True, stream_options={"include_usage": True}
    ):
        for choice in piece.choices:
            said += choice.delta.content or ""
            if choice.delta.content:
                heard[int(choice.delta.content)].set()
        total = piece.usage.total_tokens if piece.usage is not None else total
    assert said == "0 1 2 " and total == 7


def test_errors_are_the_clients_own(cloud: Cloud) -> None:
    create = cloud.client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        create(model="acme/nobody", messages=SAYS)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        cloud.client.with_options(api_key="dv_wrong").models.list()
    cloud.upstream.behaviours[MODEL] = error(400, "max_tokens is too large", kind="invalid_value")
    with pytest.raises(openai.BadRequestError) as rejected:
        create(model=MODEL, messages=SAYS)
    assert rejected.value.code == "invalid_value"
    cloud.upstream.behaviours[MODEL] = stream(role(), delta("Once "), in_band_error(500, "busy"))
    pieces = create(model=MODEL, messages=SAYS, stream=True)
    with pytest.raises(openai.APIError):
        list(pieces)
