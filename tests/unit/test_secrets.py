"""Secrets are read by reference, and a fault names the reference, never the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared import secrets
from shared.secrets import SecretUnavailableError, read_secret


@pytest.fixture(autouse=True)
def _forget() -> None:
    secrets._cache.clear()


def test_each_kind_and_member(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROVIDER_KEY", "sk-1")
    monkeypatch.setenv("PROVIDER_KEYS", '{"openai": "sk-2", "n": 3}')
    file = tmp_path / "key"
    file.write_text("sk-4\n")
    assert read_secret("env:PROVIDER_KEY") == "sk-1"
    assert read_secret("env:PROVIDER_KEYS#openai") == "sk-2"
    assert read_secret("env:PROVIDER_KEYS#n") == "3"
    assert read_secret(f"file:{file}") == "sk-4"


def test_a_secrets_manager_secret_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from botocore.stub import Stubber

    client = boto3.client(
        "secretsmanager", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setattr(boto3, "client", lambda *_: client)
    with Stubber(client) as stub:
        answer: dict[str, Any] = {"SecretString": '{"api_key": "sk-5"}'}
        stub.add_response("get_secret_value", answer, {"SecretId": "arn:aws:x:openai"})
        for _ in range(3):
            assert read_secret("secretsmanager:arn:aws:x:openai#api_key") == "sk-5"
        stub.add_client_error("get_secret_value", "AccessDeniedException")
        with pytest.raises(SecretUnavailableError):
            read_secret("secretsmanager:arn:aws:x:other")


@pytest.mark.parametrize(
    "reference",
    ["env:NO_SUCH_NAME", "file:/no/such/file", "vault:x", "", "plain-secret", "env:CANARY#missing",
     "env:CANARY_LIST#0", "env:CANARY_TEXT#x", "file:/"],
)  # fmt: skip
def test_a_fault_names_the_reference_only(monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    monkeypatch.setenv("CANARY", '{"other": "canary-value"}')
    monkeypatch.setenv("CANARY_LIST", '["canary-value"]')
    monkeypatch.setenv("CANARY_TEXT", "canary-value")
    with pytest.raises(SecretUnavailableError) as raised:
        read_secret(reference)
    assert repr(reference) in raised.value.detail
    assert "canary-value" not in raised.value.detail and raised.value.status == 503


def test_a_fault_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SecretUnavailableError):
        read_secret("env:LATE_KEY")
    monkeypatch.setenv("LATE_KEY", "sk-6")
    assert read_secret("env:LATE_KEY") == "sk-6"
