"""``davinci smoke``: is a deployment alive, closed to strangers, and serving?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what it found."""

    name: str
    passed: bool
    detail: str


def smoke(url: str, api_key: str | None, timeout_s: float = 15.0) -> list[Finding]:
    """Check the deployment at ``url``; with an API key (scope chat) it also asks one question."""
    with httpx.Client(base_url=url, timeout=timeout_s, trust_env=False) as client:
        return list(_findings(client, api_key))


def _findings(client: httpx.Client, api_key: str | None) -> Iterator[Finding]:
    yield _check("healthy", lambda: _expect(client.get("/health"), 200))
    yield _check("documented", lambda: _expect(client.get("/openapi.json"), 200))
    yield _check("closed to strangers", lambda: _expect(client.get("/api/status"), 401))
    yield _check("unknown paths are problems", lambda: _expect(client.get("/api/nothing"), 404))
    if api_key is None:
        return
    headers = {"authorization": f"Bearer {api_key}"}
    yield _check("lists models", lambda: _expect(client.get("/v1/models", headers=headers), 200))
    question = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    yield _check(
        "serves a chat completion",
        lambda: _expect(client.post("/v1/chat/completions", json=question, headers=headers), 200),
    )


def _check(name: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(name, passed=True, detail=action())
    except (httpx.HTTPError, AssertionError) as error:
        return Finding(name, passed=False, detail=f"{type(error).__name__}: {error}")


def _expect(response: httpx.Response, status: int) -> str:
    if response.status_code != status:
        raise AssertionError(f"answered {response.status_code}, expected {status}")
    return f"{status} in {response.elapsed.total_seconds() * 1000:.0f} ms"
