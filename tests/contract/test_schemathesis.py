"""The API keeps to its document, whatever is sent to it."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from infra.openapi.parameters import PARAMETER_EXAMPLES
from shared.auth.access import ACCESS
from shared.web import lambda_handler
from tests.contract import fuzzing
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import process_with

# ``make fuzz`` takes 100; here coverage, which needs no luck, does most of the work.
EXAMPLES = int(os.environ.get("DAVINCI_FUZZ_EXAMPLES", "4"))
IS_LONG = EXAMPLES >= 100
# The fourth of a long run never was before; DAVINCI_FUZZ_SEEDS=n repeats it.
SEEDS = {"1": 1, "2": 2, "3": 3}
SEEDS |= {"random": random.SystemRandom().randrange(5, 2**31)} if IS_LONG else {"4": 4}
if given := os.environ.get("DAVINCI_FUZZ_SEEDS"):
    SEEDS = {seed: int(seed) for seed in given.split(",")}
IDEMPOTENCY_KEY = PARAMETER_EXAMPLES["idempotency-key"]


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    from infra.local.apps import openapi_document

    return openapi_document()


@pytest.fixture
def whole_api(
    document: dict[str, Any],
    environment: dict[str, str],
    admin: LambdaClient,
    registry: list[str],
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """The application of a container, without limits on how often it may be asked."""
    from infra.local.apps import all_domains

    for name in ("gpt-4o-mini", "gpt-4o"):  # the document's examples name them
        model = {
            "id": f"openai/{name}", "provider": "openai", "base_url": upstream.url,
            "upstream_name": name, "context_tokens": 128_000, "region": "eu-west-1",
            "input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6,
        }  # fmt: skip
        assert admin.post("/api/models", model).status == 201
    for operation_id, access in ACCESS.items():
        monkeypatch.setitem(ACCESS, operation_id, replace(access, per_minute=None))
    with process_with(
        {
            "DAVINCI_DATABASE_CONNECTIONS": "8",
            "DAVINCI_RATE_LIMIT_GLOBAL_PER_MINUTE": "100000000",
            "DAVINCI_RATE_LIMIT_CALLER_PER_MINUTE": "100000000",
        }
    ):
        yield all_domains()


# Named, not numbered: every worker of a parallel run must collect the same tests.
@pytest.mark.parametrize("name", SEEDS)
def test_every_operation_keeps_to_the_document(
    document: dict[str, Any],
    whole_api: Any,
    admin: LambdaClient,
    upstream: FakeUpstream,
    tmp_path: Path,
    name: str,
) -> None:
    seed = SEEDS[name]
    # The coverage of the schemas is the same for every seed: in a short run one does it.
    is_thorough = IS_LONG or name == next(iter(SEEDS))
    users = {"admin": str(admin.token), "viewer": _colleague(admin)}
    own_ids = {
        admin.with_token(token).get("/api/auth/verify").json()["id"] for token in users.values()
    }
    fuzzing.write_identities(tmp_path / "users.yaml", users)
    config = fuzzing.configuration(seed, EXAMPLES, tmp_path / "users.yaml", list(users))

    def mend(_context: Any, case: Any, _kwargs: Any) -> None:
        if case.operation.label == "POST /api/auth/logout":
            # Whoever logs out has a session of his own, or the rest of the run is 401s.
            authorization = dict(case.headers or {}).get("Authorization", "")
            if authorization.removeprefix("Bearer ") in users.values():
                case.headers["Authorization"] = f"Bearer {_colleague(admin)}"
        if case.headers and case.headers.get("idempotency-key") == IDEMPOTENCY_KEY:
            case.headers["idempotency-key"] = uuid4().hex  # the example's was used before
        if case.method in {"PATCH", "DELETE"} and case.path_parameters.get("user_id") in own_ids:
            case.path_parameters["user_id"] = "usr_" + "0" * 32  # nobody saws off our branch
        if case.path.startswith("/v1/"):
            case.body = _with_whole_numbers(case.body)
        body = case.body
        if case.operation.label.endswith("/api/models") and isinstance(body, dict):
            url = body.get("base_url")
            if isinstance(url, str) and _is_url(url):
                body["base_url"] = upstream.url

    with fuzzing.hooked(mend):
        run = fuzzing.fuzz(
            whole_api,
            deepcopy(document),
            config,
            phases=fuzzing.PHASES if is_thorough else ("fuzzing", "stateful"),
        )
    sys.stdout.write(f"seed {seed}: {run.report()}\n{run.statuses}\n{run.phases}\n{run.checks}\n")
    assert not run.failures and not run.errors, f"DAVINCI_FUZZ_SEEDS={seed}: {run.report()}"
    if is_thorough:
        asked = {f"{m.upper()} {path}" for path, item in document["paths"].items() for m in item}
        assert run.operations == asked, "every operation was asked"


def _colleague(admin: LambdaClient) -> str:
    """Return the access token of a new session of somebody who may only look."""
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    # Somebody new: at an address that it has seen, the fuzzer guesses passwords.
    email = f"{uuid4().hex}@davinci.local"
    body = {"email": email, "password": "another horse, another staple"}
    with transaction(get_engine()) as connection:
        ensure_user(connection, body["email"], body["password"], role="viewer")
    answer = admin.with_token(None).post("/api/auth/login", body)
    assert answer.status == 200, answer.body
    token: str = answer.json()["access_token"]
    if threading.current_thread() is not threading.main_thread():
        lambda_handler._thread.loop.close()  # the handlers' loop is each thread's own
    return token


def _with_whole_numbers(value: Any) -> Any:
    """Return a body with 5 for 5.0: one number to JSON Schema, two to many readers of JSON."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _is_url(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False
