"""A model may name a provider's key and nothing else of ours."""

from __future__ import annotations

import pytest

from shared.secrets import SecretUnavailableError, provider_reference_fault, read_provider_secret


@pytest.mark.parametrize(
    "reference",
    [
        "env:DATABASE_URL",
        "env:AWS_SESSION_TOKEN",
        "env:AWS_API_KEY",
        "env:DAVINCI_API_KEY",
        "env:PATH",
        "file:/etc/passwd",
        "file:/home/me/.davinci/signing-keys.json#current",
        "file:/run/secrets/davinci-providers/../signing-keys.json",
        "file:/run/secrets/davinci-providers/deeper/key",
        "secretsmanager:SigningSecret",
        "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:SigningSecret-a1#current",
        "secretsmanager:davinci/prod/providers/../../SigningSecret",
        "https://example.com/key",
        "",
    ],
)
def test_secrets_of_our_own_cannot_be_named(reference: str) -> None:
    assert provider_reference_fault(reference)
    with pytest.raises(SecretUnavailableError):
        read_provider_secret(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "env:OPENAI_API_KEY",
        "file:/run/secrets/davinci-providers/openai",
        "secretsmanager:davinci/prod/providers/openai#api_key",
        "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:davinci/prod/providers/x-Ab1",
    ],
)
def test_provider_keys_can_be_named(reference: str) -> None:
    assert provider_reference_fault(reference) is None
