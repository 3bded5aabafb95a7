"""Secrets by reference: settings and tables hold where a secret lies, never the secret.

``env:NAME``, ``file:/path`` and ``secretsmanager:ARN``; a JSON secret's member is named after a
``#``: ``secretsmanager:arn:...:openai#api_key``.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from shared.errors import UnavailableError

_TTL_S = 300.0
_cache: dict[str, tuple[float, str]] = {}


class SecretUnavailableError(UnavailableError):
    """A configured secret cannot be read; names the reference, never the value."""

    code, title = "secret-unavailable", "Secret unavailable"


def read_secret(reference: str) -> str:
    """Return the secret behind ``reference``, cached for five minutes per process.

    Raises
    ------
    SecretUnavailableError
        If the reference's kind is unknown or what it names is not there.
    """
    cached = _cache.get(reference)
    if cached is not None and cached[0] > time.monotonic():
        return cached[1]
    location, _, member = reference.partition("#")
    try:
        text = _fetch(location)
        value = str(json.loads(text)[member]) if member else text
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SecretUnavailableError(f"the secret {reference!r} cannot be read") from error
    _cache[reference] = (time.monotonic() + _TTL_S, value)
    return value


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
            answer = boto3.client("secretsmanager").get_secret_value(SecretId=name)
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error
        return str(answer["SecretString"])
    raise ValueError(f"unknown kind of secret reference: {kind!r}")
