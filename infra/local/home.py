"""The folder with everything a local run keeps: ``.davinci`` (``DAVINCI_HOME``)."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADMIN_EMAIL = "admin@davinci.local"


class HomeBusyError(RuntimeError):
    """Another run uses this home."""


class Home:
    """Paths and secrets of one local deployment; secrets are made once, readable by the owner."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.postgres = self.path / "postgres"
        self.signing_keys = self.path / "signing-keys.json"
        self.admin_password_file = self.path / "admin-password"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for this process; the system frees it even after kill -9.

        Raises
        ------
        HomeBusyError
            If another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeBusyError(
                    f"another Da Vinci runs on {self.path}; stop it or set DAVINCI_HOME"
                ) from error
            yield

    def ensure_signing_keys(self) -> None:
        """Create the signing secret unless it is there."""
        if not self.signing_keys.exists():
            document = {"current": secrets.token_urlsafe(48), "previous": ""}
            write_private(self.signing_keys, json.dumps(document))

    def ensure_admin_password(self, given: str | None) -> tuple[str, bool]:
        """Return the administrator's password and whether it was generated now.

        A given password (``DAVINCI_ADMIN_PASSWORD``) wins and is not written down.
        """
        if given:
            return given, False
        if self.admin_password_file.exists():
            return self.admin_password_file.read_text().strip(), False
        password = secrets.token_urlsafe(15)
        write_private(self.admin_password_file, password + "\n")
        return password, True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
