"""What a change of the OpenAPI document would break for callers of the published one.

``python -m infra.lint.breaking`` compares the working tree's document with the one of the last
release (the newest tag ``v*``; before the first release with the merge base of origin/main, and
without that with HEAD). Breaking changes pass only with a version that says so: a new major
version, or a new minor one while the major version is 0.

Callers send requests, so there less may be asked and more taken; they read answers, so there
nothing may be missing and nothing unknown may appear.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.lint.schema_changes import Change, Comparison
from infra.openapi.schemas import without_null

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "functions/system/openapi.json"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


class NoBaseError(ValueError):
    """There is no earlier document to compare with; says why."""


@dataclass(frozen=True)
class _Pair:
    """The same operation in both documents."""

    place: str
    old: dict[str, Any]
    new: dict[str, Any]


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return every change between two documents that a caller can notice, in document order."""
    return [
        *_removed(old, new),
        *(c for pair in _pairs(old, new) for c in _operation(pair, old, new)),
    ]


def is_announced(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether the version number allows breaking changes (semantic versioning)."""
    before = [int(part) for part in old["info"]["version"].split(".")[:2]]
    now = [int(part) for part in new["info"]["version"].split(".")[:2]]
    return now[0] > before[0] or (now[0] == before[0] == 0 and now[1] > before[1])


def _removed(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for path, item in old["paths"].items():
        if path not in new["paths"]:
            yield Change.breaking(_pointer("paths", path), "path removed", "keep it, deprecated")
            continue
        for method in (m for m in _METHODS if m in item and m not in new["paths"][path]):
            yield Change.breaking(
                _pointer("paths", path, method), "operation removed", "keep it, deprecated"
            )


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> Iterator[_Pair]:
    for path, item in old["paths"].items():
        for method in _METHODS:
            after = new["paths"].get(path, {}).get(method)
            if method in item and after is not None:
                yield _Pair(_pointer("paths", path, method), item[method], after)


def _operation(pair: _Pair, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    comparison = Comparison(old, new)
    if pair.old.get("operationId") != pair.new.get("operationId"):
        yield Change.breaking(
            f"{pair.place}/operationId",
            f"renamed from {pair.old.get('operationId')} to {pair.new.get('operationId')}",
            "generated clients call it by name: keep the name",
        )
    yield from _security(pair)
    yield from _parameters(pair, comparison)
    yield from _body(pair, comparison)
    yield from _answers(pair, comparison)


def _security(pair: _Pair) -> Iterator[Change]:
    before, now = pair.old.get("security", []), pair.new.get("security", [])
    if not before and now:
        yield Change.breaking(
            f"{pair.place}/security", "credentials are needed now", "leave it public"
        )
    for alternative in before:
        if now and alternative not in now and {} not in now:
            yield Change.breaking(
                f"{pair.place}/security",
                f"{json.dumps(alternative)} is no longer enough",
                "keep the alternative; a lower role or scope may be added",
            )


def _parameters(pair: _Pair, comparison: Comparison) -> Iterator[Change]:
    before = {(p["in"], p["name"].lower()): p for p in pair.old.get("parameters", ())}
    now = {(p["in"], p["name"].lower()): p for p in pair.new.get("parameters", ())}
    for key, parameter in before.items():
        place = f"{pair.place}/parameters/{key[0]}:{parameter['name']}"
        if key not in now:
            yield Change.breaking(place, "parameter removed", "go on taking it")
            continue
        if now[key].get("required") and not parameter.get("required"):
            yield Change.breaking(place, "became required", "give it a default")
        yield from comparison.sent(
            place, without_null(parameter["schema"]), without_null(now[key]["schema"])
        )
    for key, parameter in now.items():
        if key not in before and parameter.get("required"):
            yield Change.breaking(
                f"{pair.place}/parameters/{key[0]}:{parameter['name']}",
                "new required parameter", "give it a default",
            )  # fmt: skip


def _body(pair: _Pair, comparison: Comparison) -> Iterator[Change]:
    before, now = pair.old.get("requestBody"), pair.new.get("requestBody")
    place = f"{pair.place}/requestBody"
    if now is not None and now.get("required") and not (before or {}).get("required"):
        yield Change.breaking(place, "a body is required now", "make it optional")
    if before is None:
        return
    if now is None:
        yield Change.breaking(place, "the body is no longer taken", "go on taking it")
        return
    for media_type, content in before["content"].items():
        if media_type not in now["content"]:
            yield Change.breaking(place, f"{media_type} is no longer taken", "go on taking it")
            continue
        yield from comparison.sent(
            f"{place}/{media_type}", content.get("schema", {}),
            now["content"][media_type].get("schema", {}),
        )  # fmt: skip


def _answers(pair: _Pair, comparison: Comparison) -> Iterator[Change]:
    for status, written in pair.old["responses"].items():
        place = f"{pair.place}/responses/{status}"
        before = comparison.resolve_old(written)
        if status not in pair.new["responses"]:
            made = Change.breaking if status.startswith("2") else Change.warning
            yield made(place, "no longer documented", "keep it, or say what comes instead")
            continue
        now = comparison.resolve_new(pair.new["responses"][status])
        if status.startswith("2"):
            for name in sorted(before.get("headers", {}).keys() - now.get("headers", {}).keys()):
                yield Change.breaking(
                    f"{place}/headers/{name}", "header removed", "go on sending it"
                )
        for media_type, content in before.get("content", {}).items():
            if media_type not in now.get("content", {}):
                made = Change.breaking if status.startswith("2") else Change.warning
                yield made(place, f"no longer answers {media_type}", "go on offering it")
                continue
            yield from comparison.read(
                f"{place}/{media_type}", content.get("schema", {}),
                now["content"][media_type].get("schema", {}),
            )  # fmt: skip


def _pointer(*parts: str) -> str:
    return "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)


def base_document(against: str | None) -> tuple[str, dict[str, Any]]:
    """Return the name and content of the document to compare with.

    ``against`` is a file or a git revision; None finds the last release, see the module.

    Raises
    ------
    NoBaseError
        Outside a git checkout, or if the revision holds no document.
    """
    if against is not None and Path(against).is_file():
        return against, json.loads(Path(against).read_text(encoding="utf-8"))
    revision = against or _last_release()
    text = _git("show", f"{revision}:{DOCUMENT}")
    if text is None:
        raise NoBaseError(f"{revision} holds no {DOCUMENT}, or this is no git checkout")
    return revision, json.loads(text)


def _last_release() -> str:
    for command in (
        ("describe", "--tags", "--abbrev=0", "--match", "v*"),
        ("merge-base", "HEAD", "origin/main"),
    ):
        found = _git(*command)
        if found:
            return found.strip()
    return "HEAD"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def main(argv: Sequence[str] | None = None) -> int:
    """Print what breaks and return 1 if anything does without a version that says so."""
    parser = argparse.ArgumentParser(prog="python -m infra.lint.breaking", description=__doc__)
    parser.add_argument("--against", help="file or git revision; default: the last release")
    parser.add_argument("--document", default=str(ROOT / DOCUMENT), help="the new document")
    given = parser.parse_args(argv)
    try:
        name, old = base_document(given.against)
    except NoBaseError as error:
        print(f"Breaking changes not checked: {error}.")
        return 0
    new = json.loads(Path(given.document).read_text(encoding="utf-8"))
    found = changes(old, new)
    for change in found:
        print(change)
    broken = [change for change in found if change.is_breaking]
    if not broken:
        print(f"The API breaks no caller of {name}.")
        return 0
    if is_announced(old, new):
        print(f"{len(broken)} breaking changes, announced by version {new['info']['version']}.")
        return 0
    print(
        f"{len(broken)} changes break callers of {name}. Mend them as said, or raise VERSION in "
        "shared/web/app.py (major; minor while 0.x) and say it in CHANGELOG.md.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
