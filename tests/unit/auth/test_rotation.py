"""Signing secrets take turns: no process ever meets a signature that it cannot know."""

from __future__ import annotations

import json
import os
import random
import stat
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws
from pydantic import SecretStr

from infra.local.cli import main
from infra.local.rotation import rotate_signing_keys
from shared import secrets
from shared.auth.signing_secret import PROPAGATION, parse, rotated
from shared.auth.tokens import (
    derived_key,
    derived_keys,
    issue_access_token,
    public_jwks,
    verify_access_token,
)
from shared.config import Settings
from shared.errors import UnauthenticatedError
from shared.kit.ids import uuid7

START = datetime(2026, 11, 22, 14, tzinfo=UTC)
FIRST = json.dumps({"current": "the first", "previous": ""})


class Clock:
    """The one clock of everything that signs and verifies."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        clock = self

        class Told(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Told:
                return cls.fromtimestamp(clock.seconds(), tz)

        self.now: datetime = Told.fromtimestamp(START.timestamp(), UTC)
        patch.setattr("jwt.api_jwt.datetime", Told)
        patch.setattr("time.time", self.seconds)
        patch.setattr("time.monotonic", self.seconds)

    def seconds(self) -> float:
        return self.now.timestamp()

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield Clock(patch)


class Fleet:
    """Processes that share a secret's file and nothing else, each with its own copy."""

    def __init__(self, path: Path, size: int) -> None:
        path.write_text(FIRST)
        self.path = path
        self.settings = Settings(
            database_url=SecretStr("postgresql://nobody@/nothing"), signing_keys=f"file:{path}"
        )
        self.copies: list[dict[str, tuple[float, str]]] = [{} for _ in range(size)]

    def at(self, process: int, patch: pytest.MonkeyPatch) -> Settings:
        patch.setattr(secrets, "_cache", self.copies[process])
        return self.settings

    def issue(self, now: datetime) -> str:
        return issue_access_token(
            self.settings, user_id=uuid7(), email="x@y", role="admin", family_id=uuid7(), now=now
        )


def without_turns(document: str, now: datetime) -> str:
    """Rotate as one would without thinking of processes that have not heard of it."""
    return json.dumps({"current": f"since {now}", "previous": parse(document).strings[0]})


def refusals(
    path: Path, clock: Clock, patch: pytest.MonkeyPatch, rotate: Callable[[str, datetime], str]
) -> Counter[str]:
    """Return what a fleet under load refuses of its own in two hours with a rotation in each 25
    minutes, while somebody sends tokens of unknown keys.
    """
    fleet, rng, refused = Fleet(path, 5), random.Random(7), Counter[str]()
    alive: list[tuple[datetime, str]] = []
    fleet.at(0, patch)
    stranger = jwt.encode(
        {}, Ed25519PrivateKey.generate(), algorithm="EdDSA",
        headers={"typ": "at+jwt", "kid": "0" * 16},
    )  # fmt: skip
    for step in range(2 * 3_600 // 7):
        clock.pass_(7)
        if step % (25 * 60 // 7) == 100:
            path.write_text(rotate(path.read_text(), clock.now))
        fleet.at(rng.randrange(5), patch)
        alive = [(end, token) for end, token in alive if end > clock.now][-200:]
        alive.append((clock.now + timedelta(seconds=900), fleet.issue(clock.now)))
        signer = derived_key(fleet.settings, "cursor")
        for process in range(5):
            fleet.at(process, patch)
            for _, token in (alive[-1], alive[0], rng.choice(alive)):
                try:
                    verify_access_token(fleet.settings, token)
                except UnauthenticatedError:
                    refused["tokens"] += 1
            refused["cursors"] += signer not in derived_keys(fleet.settings, "cursor")
            if rng.random() < 0.2:
                with pytest.raises(UnauthenticatedError):
                    verify_access_token(fleet.settings, stranger)
    assert len(parse(path.read_text()).strings) == 2
    return refused


def test_a5_no_process_of_many_refuses_anything_while_the_secret_rotates(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusals(tmp_path / "keys", clock, monkeypatch, rotated).total() == 0


def test_a5_without_turns_there_would_be_refusals(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = refusals(tmp_path / "keys", clock, monkeypatch, without_turns)
    assert found["tokens"] > 0 and found["cursors"] > 0


def test_a5_both_keys_are_published_before_the_new_one_signs(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(tmp_path / "keys", 2)
    settings = fleet.at(0, monkeypatch)
    (old,) = (key["kid"] for key in public_jwks(settings)["keys"])
    fleet.path.write_text(rotated(FIRST, clock.now))
    settings = fleet.at(1, monkeypatch)
    new, second = (key["kid"] for key in public_jwks(settings)["keys"])
    assert second == old != new

    def kid() -> str:
        return str(jwt.get_unverified_header(fleet.issue(clock.now))["kid"])

    assert kid() == old
    clock.pass_(PROPAGATION.total_seconds() - 1)
    assert kid() == old
    clock.pass_(1)
    assert kid() == new


def test_a5_a_rotation_waits_until_nothing_is_left_of_the_one_before(clock: Clock) -> None:
    once = rotated(FIRST, clock.now)
    end = clock.now + PROPAGATION + timedelta(seconds=960)
    with pytest.raises(ValueError, match="rotate after"):
        rotated(once, end - timedelta(seconds=1))
    twice = parse(rotated(once, end))
    assert twice.strings[1] == parse(once).strings[0] and "the first" not in twice.strings


def test_a5_after_a_leak_what_was_signed_ends_at_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(tmp_path / "keys", 1)
    fleet.path.write_text(rotated(FIRST, clock.now))
    settings = fleet.at(0, monkeypatch)
    before = fleet.issue(clock.now)
    rotate_signing_keys(settings.signing_keys, clock.now, at_once=True)
    clock.pass_(61)
    after = fleet.issue(clock.now)
    assert len(parse(fleet.path.read_text()).strings) == 1
    clock.pass_(300)
    assert verify_access_token(settings, fleet.issue(clock.now)).role == "admin"
    for token in (before, after):
        with pytest.raises(UnauthenticatedError):
            verify_access_token(settings, token)


def test_the_command_rotates_this_homes_secret_and_nobody_else_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signing-keys.json"
    path.write_text(FIRST)
    monkeypatch.setenv("DAVINCI_HOME", str(tmp_path))
    monkeypatch.delenv("DAVINCI_SIGNING_KEYS", raising=False)
    assert main(["rotate-signing-keys"]) == 0
    assert parse(path.read_text()).strings[1] == "the first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert parse(path.read_text()).strings[0] not in "".join(capsys.readouterr())
    assert main(["rotate-signing-keys"]) == 1  # too early
    assert "rotate after" in capsys.readouterr().err
    assert main(["rotate-signing-keys", "--at-once"]) == 0
    assert main(["rotate-signing-keys", "--secret", "env:NOTHING"]) == 1


@mock_aws
def test_a_secret_of_aws_is_rotated_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(secrets, "_cache", {})
    store = boto3.client("secretsmanager")
    arn = store.create_secret(Name="davinci/signing", SecretString=FIRST)["ARN"]
    rotate_signing_keys(f"secretsmanager:{arn}", datetime.now(UTC), at_once=False)
    assert parse(store.get_secret_value(SecretId=arn)["SecretString"]).strings[1] == "the first"
