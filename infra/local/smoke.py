"""``davinci smoke``: is a deployment alive, closed to strangers, serving, and streaming?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

_CHAT = "/v1/chat/completions"
_QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what it found."""

    name: str
    passed: bool
    detail: str


def smoke(url: str, api_key: str | None, timeout_s: float = 15.0) -> list[Finding]:
    """Check the deployment at ``url``; with an API key (scope chat) it also asks a question, twice:
    for a whole answer and for a stream, if a model is registered.
    """
    with httpx.Client(base_url=url, timeout=timeout_s, trust_env=False) as client:
        return list(_findings(client, api_key))


def _findings(client: httpx.Client, api_key: str | None) -> Iterator[Finding]:
    yield _check("healthy", lambda: _expect(client.get("/health"), 200))
    yield _check("documented", lambda: _expect(client.get("/openapi.json"), 200))
    yield _check("closed to strangers", lambda: _expect(client.get("/api/status"), 401))
    yield _check("unknown paths are problems", lambda: _expect(client.get("/api/nothing"), 404))
    if api_key is None:
        return
    client.headers["authorization"] = f"Bearer {api_key}"
    listed = _check("lists models", lambda: _expect(client.get("/v1/models"), 200))
    yield listed
    calls = {
        "serves a chat completion": lambda: _expect(client.post(_CHAT, json=_QUESTION), 200),
        "streams a chat completion": lambda: _stream(client),
    }
    if listed.passed and not _has_models(client):
        # A deployment is whole before its first model.
        yield from (
            Finding(n, passed=True, detail="skipped: no model is registered") for n in calls
        )
        return
    for name, call in calls.items():
        yield _check(name, call)


def _has_models(client: httpx.Client) -> bool:
    """Whether there is anything but ``auto``."""
    return len(client.get("/v1/models").json()["data"]) > 1


def _stream(client: httpx.Client) -> str:
    """Expect events up to the last, ``[DONE]``; say when the first came."""
    started_at = time.perf_counter()
    events: list[tuple[float, str]] = []
    with client.stream("POST", _CHAT, json=_QUESTION | {"stream": True}) as response:
        if response.status_code != 200:
            response.read()
            return _expect(response, 200)
        for line in response.iter_lines():
            if line.startswith("data:"):
                at_ms = (time.perf_counter() - started_at) * 1000
                events.append((at_ms, line.removeprefix("data:").strip()))
    if not events or events[-1][1] != "[DONE]":
        last = events[-1][1][:200] if events else "nothing"
        raise AssertionError(f"the stream ends in {last}, not in [DONE]")
    first_ms, last_ms = events[0][0], events[-1][0]
    return f"{len(events)} events, the first in {first_ms:.0f} ms, [DONE] in {last_ms:.0f} ms"


def _check(name: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(name, passed=True, detail=action())
    except (httpx.HTTPError, AssertionError) as error:
        return Finding(name, passed=False, detail=f"{type(error).__name__}: {error}")


def _expect(response: httpx.Response, status: int) -> str:
    if response.status_code != status:
        raise AssertionError(f"answered {response.status_code}, expected {status}")
    return f"{status} in {response.elapsed.total_seconds() * 1000:.0f} ms"
