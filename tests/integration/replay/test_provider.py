"""The replay upstream over real HTTP, asked by the official client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from infra.local.replay.traffic import Traffic

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client(provider_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider_url, api_key="none", max_retries=0) as made:
        yield made


def test_the_official_client_reads_an_answer(client: openai.OpenAI, traffic: Traffic) -> None:
    row = traffic.rows[5]
    raw = client.chat.completions.with_raw_response.create(
        model="qwen2.5-7b-instruct", messages=[{"role": "user", "content": row.prompt}]
    )
    answer = raw.parse()
    index = traffic.model_index("qwen2.5-7b-instruct")
    assert index is not None
    assert f"(score {row.quality[index]!r})" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row.tokens_in, 150)
    assert raw.headers["openai-processing-ms"] == str(traffic.latency_ms(row, index))
    assert raw.headers["x-davinci-latency"] == "simulated"


def test_the_official_client_reads_a_stream_with_usage(
    client: openai.OpenAI, traffic: Traffic
) -> None:
    row = traffic.rows[6]
    with client.chat.completions.create(
        model="gemma-2-9b-it",
        messages=[{"role": "user", "content": row.prompt}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("Recorded result of gemma-2-9b-it: ")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == row.tokens_in + 150


def test_the_official_client_lists_the_recorded_models(
    client: openai.OpenAI, traffic: Traffic
) -> None:
    assert [model.id for model in client.models.list()] == [model.name for model in traffic.models]
    assert client.models.retrieve("codegemma-7b").owned_by == "replay"


def test_the_official_client_understands_a_refusal(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="codegemma-7b", input="Hi")


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        ("POST", "/chat/completions", b"[]", 400),
        ("GET", "/chat/completions", b"", 405),
        ("POST", "/models", b"", 405),
        ("POST", "/chat/completions", b" " * (10 * 1024 * 1024 + 1), 413),
    ],
)
def test_every_refusal_has_openais_shape(
    provider_url: str, method: str, path: str, content: bytes, status: int
) -> None:
    response = httpx.request(method, provider_url + path, content=content)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_its_own_process_serves_sleeps_to_scale_and_stops(traffic: Traffic, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.replay", "provider", "--port", "0"],
            cwd=ROOT,
            stderr=stderr,
            env={**os.environ, "DAVINCI_REPLAY_TIME_SCALE": "0.1"},
        )
    try:
        deadline = time.monotonic() + 20
        while not (said := log.read_text()).endswith("/v1\n"):
            assert time.monotonic() < deadline
            assert process.poll() is None, said
            time.sleep(0.02)
        url = said.split()[-1]
        prompt = traffic.rows[0].prompt
        body = {"model": "codegemma-7b", "messages": [{"role": "user", "content": prompt}]}
        started = time.monotonic()
        response = httpx.post(f"{url}/chat/completions", content=json.dumps(body))
        slept_s = time.monotonic() - started
        assert slept_s >= int(response.headers["openai-processing-ms"]) / 1000 * 0.1
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
