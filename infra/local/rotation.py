"""``davinci rotate-signing-keys``: a new signing secret without a failed request."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from infra.local.home import write_private
from shared.auth.signing_secret import rotated
from shared.secrets import read_secret


def rotate_signing_keys(reference: str, now: datetime, *, at_once: bool) -> None:
    """Rotate the signing secret behind ``file:/path`` or ``secretsmanager:ARN``.

    Raises
    ------
    ValueError
        If it lies elsewhere, or what the secret before signed is still in use.
    SecretUnavailableError
        If it cannot be read.
    """
    kind, _, name = reference.partition(":")
    if kind not in {"file", "secretsmanager"}:
        raise ValueError("name the secret: file:/path or secretsmanager:ARN")
    document = rotated(read_secret(reference, max_age_s=0), now, at_once=at_once)
    if kind == "file":
        write_private(Path(name), document)
        return
    import boto3

    boto3.client("secretsmanager").put_secret_value(SecretId=name, SecretString=document)
