"""``python -m infra.local.replay run | verify | provider | pack``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from infra.local.replay.settings import Mode, ReplaySettings, SettingsError, VerifySettings
from infra.local.replay.traffic import DATA_DIR


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one of the commands and return its exit code."""
    environ = os.environ if environ is None else environ
    given = _parser().parse_args(argv)
    try:
        return int(given.command(given, environ))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Send recorded traffic; options of ``run_options``."""
    from infra.local.replay.driver import run_replay

    settings = ReplaySettings.from_environ(environ)
    # Who asks for a replay gets one, whatever the environment says about ``make run``.
    mode: Mode = given.mode or ("on" if environ.get("DAVINCI_REPLAY") == "on" else "once")
    changes = {name: getattr(given, name) for name in ("requests", "public_url", "home")}
    known = {name: value for name, value in changes.items() if value is not None}
    return run_replay(replace(settings, **known, mode=mode, json=given.json))


def verify(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check that nothing acknowledged was lost; options of ``verify_options``."""
    from infra.local.replay.verify import run_verify

    settings = VerifySettings.from_environ(environ)
    changes = {name: getattr(given, name) for name in ("database_url", "public_url", "home")}
    known = {name: value for name, value in changes.items() if value is not None}
    return run_verify(replace(settings, **known, json=given.json))


def _provider(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from infra.local.replay.provider import serve

    port = ReplaySettings.from_environ(environ).provider_port if given.port is None else given.port

    def announce(bound: int) -> None:
        sys.stderr.write(f"replay upstream on http://127.0.0.1:{bound}/v1\n")

    with suppress(KeyboardInterrupt):
        serve(port, on_ready=announce)
    return 0


def _pack(given: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    from infra.local.replay.pack import pack

    pack(given.source, given.target)
    return 0


def run_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``run``."""
    parser.add_argument("--mode", choices=("once", "on"), help="on: then one request every 2 s")
    parser.add_argument("--requests", type=int, help="requests at full speed (2400)")
    _common_options(parser)


def verify_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``verify``."""
    parser.add_argument("--database-url", help="ask PostgreSQL instead of the API")
    _common_options(parser)


def _common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public-url", help="where the system answers")
    parser.add_argument("--home", type=Path, help="folder with the journal and the password")
    parser.add_argument("--json", action="store_true", help="data on stdout, nothing else")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="replay", description="Recorded traffic in motion.")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("run", help="send recorded traffic through the public API")
    run_options(command)
    command.set_defaults(command=run)

    command = commands.add_parser("verify", help="check that nothing acknowledged was lost")
    verify_options(command)
    command.set_defaults(command=verify)

    command = commands.add_parser("provider", help="serve the replay upstream on loopback")
    command.add_argument("--port", type=int)
    command.set_defaults(command=_provider)

    command = commands.add_parser("pack", help="rewrite the committed copies of the recorded data")
    command.add_argument("source", type=Path)
    command.add_argument("--target", type=Path, default=DATA_DIR)
    command.set_defaults(command=_pack)
    return parser


if __name__ == "__main__":
    sys.exit(main())
