"""LiteLLM as a client of the gateway, in its own environment and process."""

from __future__ import annotations

import json
import os
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.harness import MODEL, Gateway, says
from tests.fakes.streaming import delta, finish_connection, role
from tests.fakes.upstream import answer, completion, error, stream

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools" / "litellm" / "bin" / "python"
HELLO = "Hello there, friend."
CALL = {
    "id": "call_1", "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Seoul"}'},
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(running: Gateway) -> dict[str, Any]:
    """What litellm got of each of its calls."""
    if not PYTHON.exists():
        pytest.skip("litellm's environment is missing: make .tools/litellm/.stamp")
    for model in ("acme/limited", "acme/broken", "acme/breaks-off"):
        running.register(model)
    says(running, _talk)
    running.upstream.behaviours |= {
        "acme/limited": error(429, "slow down", retry_after="60"),
        "acme/broken": error(500),
        "acme/breaks-off": stream(role(), delta("Once "), finish_connection),
    }
    script = Path(__file__).with_name("litellm_script.py")
    done = subprocess.run(
        [str(PYTHON), str(script), running.base_url, running.key, MODEL, "acme/embedder"],
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _talk(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    if request.get("tools"):
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        behaviour = completion(message, "tool_calls", prompt_tokens=9, completion_tokens=5)
    else:
        behaviour = answer(HELLO, prompt_tokens=11, completion_tokens=7)
    behaviour(handler, request)


def test_completions_whole_and_streamed(seen: dict[str, Any]) -> None:
    assert seen["completion"] == {"text": HELLO, "usage": [11, 7]}
    assert seen["stream"]["text"] == HELLO and seen["stream"]["usage"] == [11, 7]
    assert seen["stream"]["pieces"] > 3
    assert seen["asynchronous"] == HELLO and seen["asynchronous_stream"] == HELLO


def test_tools_and_embeddings(seen: dict[str, Any]) -> None:
    assert seen["tools"] == {"name": "weather", "arguments": {"city": "Seoul"}}
    assert seen["embedding"] == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]


def test_its_router_takes_the_gateway_as_a_deployment(seen: dict[str, Any]) -> None:
    assert seen["router"] == [HELLO] * 4


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("bad_key", "AuthenticationError"),
        ("no_model", "NotFoundError"),
        ("bad_request", "BadRequestError"),
        ("limited", "RateLimitError"),
        ("broken", "APIError"),
        ("broken_stream", "APIError"),
    ],
)
def test_errors_are_of_its_own_classes(seen: dict[str, Any], call: str, kind: str) -> None:
    assert kind in seen[call]["raised"], seen[call]
