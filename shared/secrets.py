"""Secrets by reference: settings and tables hold where a secret lies, never the secret.

``env:NAME``, ``file:/path`` and ``secretsmanager:ARN``; a JSON secret's member is named after a
``#``: ``secretsmanager:arn:...:openai#api_key``.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from shared.errors import UnavailableError
from shared.kit.waiting import elsewhere

# How long a process keeps its copy of a secret.
TTL_S = 300.0
# Where container platforms mount secrets; a flat folder, so no path leads out of it.
_PROVIDER_FOLDER = Path("/run/secrets/davinci-providers")
_PROVIDER_SECRET = re.compile(
    r"(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:)?davinci/[a-z]+/providers/[\w+=.@-]+"
)
_cache: dict[str, tuple[float, str]] = {}


class SecretUnavailableError(UnavailableError):
    """A configured secret cannot be read; names the reference, never the value."""

    code, title = "secret-unavailable", "Secret unavailable"


def read_secret(reference: str, *, max_age_s: float = TTL_S) -> str:
    """Return the secret behind ``reference``, cached for five minutes per process.

    With ``max_age_s`` (up to those five minutes) it is read again if the copy is older.

    Raises
    ------
    SecretUnavailableError
        If the reference's kind is unknown or what it names is not there.
    """
    cached = _cache.get(reference)
    if cached is not None and cached[0] - TTL_S + max_age_s > time.monotonic():
        return cached[1]
    location, _, member = reference.partition("#")
    try:
        text = _fetch(location)
        value = str(json.loads(text)[member]) if member else text
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SecretUnavailableError(f"the secret {reference!r} cannot be read") from error
    _cache[reference] = (time.monotonic() + TTL_S, value)
    return value


def provider_reference_fault(reference: str) -> str | None:
    """Return why a model's key may not be read from ``reference``, or None.

    Whoever may register a model chooses where its key is sent, so a model must never be able to
    name a secret of our own: the signing keys, the database's URL, the role's credentials.
    """
    kind, _, name = reference.partition("#")[0].partition(":")
    if kind == "env" and name.endswith("_API_KEY") and not name.startswith(("AWS_", "DAVINCI_")):
        return None
    if kind == "file" and Path(name).parent == _PROVIDER_FOLDER and "\x00" not in name:
        return None
    if kind == "secretsmanager" and _PROVIDER_SECRET.fullmatch(name):
        return None
    return (
        f"provider keys lie in env:<NAME>_API_KEY, file:{_PROVIDER_FOLDER}/<name> or "
        "secretsmanager:arn:...:secret:davinci/<stage>/providers/<name>"
    )


def read_provider_secret(reference: str) -> str:
    """Return a provider's key; see ``provider_reference_fault`` for where it may lie.

    Raises
    ------
    SecretUnavailableError
        If it may not be read or is not there.
    """
    fault = provider_reference_fault(reference)
    if fault is not None:
        raise SecretUnavailableError(fault)
    return read_secret(reference)


def _fetch(location: str) -> str:
    kind, _, name = location.partition(":")
    if kind == "env":
        return os.environ[name]
    if kind == "file":
        return Path(name).read_text().strip()
    if kind == "secretsmanager":
        # Imported where used: the client costs 0.3 s that most functions never need.
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = elsewhere(
                lambda: boto3.client("secretsmanager").get_secret_value(SecretId=name)
            )
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error
        return str(answer["SecretString"])
    raise ValueError(f"unknown kind of secret reference: {kind!r}")
