"""What a replay or a check needs to know, read from the environment in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from infra.local.replay.traffic import DATA_DIR

Mode = Literal["off", "once", "on"]
ADMIN_EMAIL = "admin@davinci.local"


class SettingsError(ValueError):
    """A setting is not usable; the message names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Settings of one replay.

    ``mode``: ``off`` sends nothing, ``once`` ends after ``requests``, ``on`` then goes on with one
    request every ``trickle_s`` seconds. A batch has at most ``per_second`` requests a second (0: as
    many as the system takes), since what is learned comes seconds later at any pace. ``patience_s``
    is how long one request may meet a system that does not answer before the replay gives up.
    ``weights_every_s`` is how often the default policy's weights are read again.
    """

    public_url: str = "http://127.0.0.1:8000"
    provider_url: str = "http://127.0.0.1:8001/v1"
    home: Path = Path(".davinci")
    admin_password: str | None = None
    mode: Mode = "on"
    requests: int = 2400
    concurrency: int = 6
    per_second: int = 40
    trickle_s: float = 2.0
    weights_every_s: float = 30.0
    seed: int = 7
    patience_s: float = 120.0
    backoff_s: float = 0.2
    data_dir: Path = DATA_DIR
    json: bool = False

    @property
    def journal_path(self) -> Path:
        """Where acknowledgements are kept."""
        return self.home / "replay" / "journal.jsonl"

    @property
    def provider_port(self) -> int:
        """Port of the replay upstream; 80 if its URL states none."""
        return urlsplit(self.provider_url).port or 80

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ReplaySettings:
        """Read ``DAVINCI_PORT``, ``_HOME``, ``_ADMIN_PASSWORD``, ``_REPLAY``, ``_REPLAY_*``.

        Raises
        ------
        SettingsError
            For a value that is not understood.
        """
        port = _number(environ, "DAVINCI_PORT", 8000)
        provider_port = _number(environ, "DAVINCI_REPLAY_PORT", port + 1)
        mode = environ.get("DAVINCI_REPLAY") or "on"
        if mode not in {"off", "once", "on"}:
            raise SettingsError(f"DAVINCI_REPLAY must be off, once or on, not {mode!r}")
        return cls(
            public_url=f"http://127.0.0.1:{port}",
            provider_url=f"http://127.0.0.1:{provider_port}/v1",
            home=Path(environ.get("DAVINCI_HOME") or ".davinci"),
            admin_password=environ.get("DAVINCI_ADMIN_PASSWORD") or None,
            mode=cast("Mode", mode),
            requests=_number(environ, "DAVINCI_REPLAY_REQUESTS", 2400),
            concurrency=max(1, _number(environ, "DAVINCI_REPLAY_CONCURRENCY", 6)),
            per_second=_number(environ, "DAVINCI_REPLAY_PER_SECOND", 40),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """Settings of one check: with ``database_url`` it reads PostgreSQL, else the public API.

    ``wait_s`` is how long rows that are not there yet are waited for.
    """

    public_url: str = "http://127.0.0.1:8000"
    home: Path = Path(".davinci")
    admin_password: str | None = None
    database_url: str | None = None
    concurrency: int = 6
    wait_s: float = 10.0
    patience_s: float = 30.0
    json: bool = False

    @property
    def journal_path(self) -> Path:
        """Where the driver keeps acknowledgements."""
        return self.home / "replay" / "journal.jsonl"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> VerifySettings:
        """Read ``DAVINCI_PORT``, ``DAVINCI_HOME``, ``DAVINCI_ADMIN_PASSWORD``, ``DATABASE_URL``."""
        return cls(
            public_url=f"http://127.0.0.1:{_number(environ, 'DAVINCI_PORT', 8000)}",
            home=Path(environ.get("DAVINCI_HOME") or ".davinci"),
            admin_password=environ.get("DAVINCI_ADMIN_PASSWORD") or None,
            database_url=environ.get("DATABASE_URL") or None,
        )


def admin_password(given: str | None, home: Path) -> str:
    """Return the administrator's password: the given one, else the one kept in the home folder.

    Raises
    ------
    SettingsError
        If there is neither.
    """
    if given:
        return given
    try:
        return (home / "admin-password").read_text().strip()
    except OSError as error:
        message = f"no administrator password: set DAVINCI_ADMIN_PASSWORD ({error})"
        raise SettingsError(message) from error


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    try:
        number = int(text)
    except ValueError as error:
        raise SettingsError(f"{name} must be a whole number, not {text!r}") from error
    if number < 0:
        raise SettingsError(f"{name} must not be negative")
    return number
