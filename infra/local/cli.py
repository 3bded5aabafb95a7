"""The ``davinci`` command. Each subcommand imports only what it needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.local.replay import __main__ as replay

_CHECKOUT = Path(__file__).resolve().parents[2]
OPENAPI_FILE = _CHECKOUT / "functions" / "system" / "openapi.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0 done, 1 failed, 2 wrongly called."""
    given = _parser().parse_args(argv)
    try:
        return int(given.command(given))
    except (RuntimeError, ValueError, OSError) as error:
        # What a person can mend; anything else keeps its traceback.
        print(f"davinci: {error}", file=sys.stderr)
        return 1


def _run(_given: argparse.Namespace) -> int:
    from infra.local.run import run

    return run(os.environ)


def _replay(given: argparse.Namespace) -> int:
    return replay.run(given, os.environ)


def _verify(given: argparse.Namespace) -> int:
    from infra.local.home import Home
    from infra.local.postgres import EmbeddedPostgres
    from infra.local.replay.settings import VerifySettings

    environ = dict(os.environ)
    home = Home(given.home or VerifySettings.from_environ(environ).home)
    # The database itself is the better witness, and on this machine it is within reach.
    if given.public_url is None and (home.postgres / "postmaster.pid").exists():
        environ.setdefault("DATABASE_URL", EmbeddedPostgres(home.postgres).url)
    return replay.verify(given, environ)


def _migrate(given: argparse.Namespace) -> int:
    from infra.local.migrate import upgrade

    url = given.database_url or os.environ.get("DATABASE_URL")
    if not url:
        raise ValueError("name the database: --database-url or DATABASE_URL")
    upgrade(url)
    print("The schema is current.")
    return 0


def _rotate(given: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from infra.local.home import Home
    from infra.local.rotation import rotate_signing_keys

    home = Home(Path(os.environ.get("DAVINCI_HOME") or ".davinci"))
    reference = given.secret or os.environ.get("DAVINCI_SIGNING_KEYS")
    rotate_signing_keys(
        reference or f"file:{home.signing_keys}", datetime.now(UTC), at_once=given.at_once
    )
    print("Rotated. " + ("Everybody's access token ended." if given.at_once else "Nothing ended."))
    return 0


def _openapi(given: argparse.Namespace) -> int:
    # The document does not depend on settings, but importing the apps reads them.
    os.environ.setdefault("DATABASE_URL", "postgresql+pg8000://nobody@/nothing")
    from infra.local.apps import openapi_document

    text = json.dumps(openapi_document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if given.json:
        sys.stdout.write(text)
        return 0
    if given.check:
        if OPENAPI_FILE.read_text(encoding="utf-8") != text:
            raise ValueError("the committed OpenAPI document is out of date: run 'make openapi'")
        print("The committed OpenAPI document is current.")
        return 0
    OPENAPI_FILE.write_text(text, encoding="utf-8")
    print(f"Wrote {OPENAPI_FILE.relative_to(_CHECKOUT)}.")
    return 0


def _smoke(given: argparse.Namespace) -> int:
    from infra.local.smoke import smoke

    findings = smoke(given.url, os.environ.get("DAVINCI_API_KEY"))
    if given.json:
        print(
            json.dumps([{"name": f.name, "passed": f.passed, "detail": f.detail} for f in findings])
        )
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.name}: {finding.detail}")
    return 0 if all(finding.passed for finding in findings) else 1


def _bench(given: argparse.Namespace) -> int:
    from infra.bench.__main__ import main as bench

    return bench(given.arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="davinci", description="Control plane and gateway for LLM traffic."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    add("run", _run, "start everything on this machine and replay recorded traffic")
    replay.run_options(add("replay", _replay, "send recorded traffic to a running system"))
    replay.verify_options(
        add("verify", _verify, "check that nothing acknowledged was lost or doubled")
    )
    migrate = add("migrate", _migrate, "bring a database to the current schema")
    migrate.add_argument("--database-url", help="default: DATABASE_URL")
    rotate = add("rotate-signing-keys", _rotate, "sign with a new secret; nobody is logged out")
    rotate.add_argument("--secret", help="file:/path or secretsmanager:ARN; default: this home's")
    rotate.add_argument("--at-once", action="store_true", help="after a leak: end what was signed")
    openapi = add("openapi", _openapi, "write the OpenAPI document of all domains")
    openapi.add_argument("--check", action="store_true", help="fail if the committed one differs")
    smoke = add(
        "smoke", _smoke, "check a deployment from outside (DAVINCI_API_KEY adds a question)"
    )
    smoke.add_argument("--url", default="http://127.0.0.1:8000")
    bench = add("bench", _bench, "measure; names what there is to measure")
    bench.add_argument("arguments", nargs=argparse.REMAINDER)
    for sub in (openapi, smoke):
        sub.add_argument("--json", action="store_true", help="data on stdout, nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())
