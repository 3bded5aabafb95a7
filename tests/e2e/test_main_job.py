"""What a newcomer sees: the system started, traffic replayed, an OpenAI client served."""

from __future__ import annotations

import json
import stat

import httpx
import openai
import pytest

from tests.e2e.system import System


def test_every_recorded_request_was_decided_served_judged_and_learned_from(
    system: System, admin: httpx.Client
) -> None:
    def caught_up() -> bool:
        found = admin.get("/api/learning/metrics", params={"window": "24h"}).json()
        return bool(found["updates"] >= 480 and found["requests"] >= 240)

    system.wait(caught_up, "the projections", timeout_s=30)
    metrics = admin.get("/api/learning/metrics", params={"window": "24h"}).json()
    assert {level["level"] for level in metrics["levels"] if level["requests"]} == {
        "L1", "L2", "L3", "L4",
    }  # fmt: skip
    assert metrics["cost_usd"] > 0
    assert metrics["reward_mean_usd"] is not None
    checked = system.command("verify", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert admin.get("/api/status").json()["availability_24h"] == 1.0


def test_the_official_openai_client_gets_an_answer_and_its_decision(
    system: System, api_key: str
) -> None:
    client = openai.OpenAI(base_url=f"{system.url}/v1", api_key=api_key, max_retries=0)
    with client:
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Is 17 a prime number?"}]
        )
        assert raw.parse().choices[0].message.content
        assert "auto" in {model.id for model in client.models.list()}
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(
                model="no/such", messages=[{"role": "user", "content": "?"}]
            )
    assert missing.value.code == "model_not_found"
    decision = httpx.get(
        f"{system.url}/api/neural/decisions/{raw.headers['x-davinci-decision-id']}",
        headers={"authorization": f"Bearer {api_key}"},
        trust_env=False,
    ).json()
    assert 0 < decision["propensity"] <= 1
    assert decision["outcome"]["status"] == "success"
    assert decision["model"] == raw.headers["x-davinci-model"]


def test_a_wrong_key_is_refused_as_openai_refuses_it(system: System) -> None:
    with (
        openai.OpenAI(base_url=f"{system.url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_unknown_paths_and_large_bodies_are_problems(system: System, admin: httpx.Client) -> None:
    unknown = admin.get("/api/nothing")
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/problem+json"
    for size in (2_000_000, 7_000_000):  # above our own limit, and above Lambda's
        large = admin.post("/api/neural/route", json={"prompt": "x" * size})
        assert large.status_code == 413
        assert large.headers["content-type"] == "application/problem+json"
        assert large.json()["status"] == 413


def test_smoke_finds_nothing_wrong(system: System) -> None:
    done = system.command("smoke", "--url", system.url, "--json")
    assert done.returncode == 0, done.stdout
    assert all(finding["passed"] for finding in json.loads(done.stdout))


def test_the_dashboard_and_its_documents_are_served(system: System) -> None:
    page = httpx.get(system.url, headers={"accept": "text/html"}, trust_env=False)
    assert page.status_code == 200
    assert '<div id="root">' in page.text
    assert httpx.get(f"{system.url}/decisions/x", trust_env=False).text == page.text
    root = httpx.get(system.url, headers={"accept": "application/json"}, trust_env=False)
    assert root.json()["name"] == "Da Vinci"
    assert httpx.get(f"{system.url}/docs", trust_env=False).status_code == 200
    assert "paths" in httpx.get(f"{system.url}/openapi.json", trust_env=False).json()


def test_secrets_of_the_home_are_the_owner_s_alone(system: System) -> None:
    for name in ("signing-keys.json", "replay-key"):
        assert stat.S_IMODE((system.home / name).stat().st_mode) == 0o600
