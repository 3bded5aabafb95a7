"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.replay.settings import (
    ReplaySettings,
    SettingsError,
    VerifySettings,
    admin_password,
)


def test_defaults_are_those_of_make_run() -> None:
    settings = ReplaySettings.from_environ({})
    assert settings == ReplaySettings()
    assert (settings.mode, settings.requests, settings.concurrency) == ("on", 2400, 6)
    assert settings.journal_path == Path(".davinci/replay/journal.jsonl")


def test_the_upstream_listens_beside_the_public_port() -> None:
    settings = ReplaySettings.from_environ({"DAVINCI_PORT": "9100"})
    assert settings.public_url == "http://127.0.0.1:9100"
    assert settings.provider_url == "http://127.0.0.1:9101/v1"
    assert settings.provider_port == 9101


def test_every_variable_is_read() -> None:
    settings = ReplaySettings.from_environ(
        {
            "DAVINCI_HOME": "/elsewhere",
            "DAVINCI_ADMIN_PASSWORD": "secret",
            "DAVINCI_REPLAY": "once",
            "DAVINCI_REPLAY_REQUESTS": "50",
            "DAVINCI_REPLAY_CONCURRENCY": "2",
            "DAVINCI_REPLAY_PER_SECOND": "0",
            "DAVINCI_REPLAY_PORT": "9500",
        }
    )
    assert settings.home == Path("/elsewhere")
    assert settings.admin_password == "secret"
    assert (settings.mode, settings.requests, settings.concurrency) == ("once", 50, 2)
    assert settings.per_second == 0
    assert settings.provider_port == 9500


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAVINCI_REPLAY", "sometimes"),
        ("DAVINCI_REPLAY_REQUESTS", "many"),
        ("DAVINCI_REPLAY_REQUESTS", "-1"),
        ("DAVINCI_PORT", "http"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        ReplaySettings.from_environ({name: value})


def test_verify_asks_the_database_where_there_is_one() -> None:
    assert VerifySettings.from_environ({}).database_url is None
    url = "postgresql+pg8000://davinci@localhost/davinci"
    assert VerifySettings.from_environ({"DATABASE_URL": url}).database_url == url


def test_the_password_is_the_given_one_or_the_kept_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DAVINCI_ADMIN_PASSWORD"):
        admin_password(None, tmp_path)
    (tmp_path / "admin-password").write_text("kept\n")
    assert admin_password(None, tmp_path) == "kept"
    assert admin_password("given", tmp_path) == "given"
