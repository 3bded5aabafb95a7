"""``docs/access.md``: every route with the role and scope that it needs, from the document.

``python -m infra.openapi.access_table`` writes it; ``--check`` fails if the committed one differs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.openapi.operations import is_limited
from shared.auth.access import ACCESS, ROLES, SCOPES, admits_role

TABLE = Path(__file__).resolve().parents[2] / "docs" / "access.md"
_HEAD = """# Who may do what

Generated from the access table (`shared/auth/access.py`) by `make openapi`; `make check` compares.
Whoever is not named may not: a route without a row does not start. People have a role, and each
role may do what the ones before it may; API keys have scopes. `limit` is the route's own, requests
a minute and caller (per client address where it is public), beside those of every caller: 1,000 of
its own (a key's `rpm` instead) and 10,000 of all together. *without limits* says what happens when
the database cannot count: the request goes on, or it is refused (503).
"""


def table(document: dict[str, Any]) -> str:
    """Return the page."""
    titles = ["route", "operation", *ROLES, *(f"`{scope}` key" for scope in SCOPES)]
    titles += ["limit", "without limits"]
    lines = [_HEAD, _row(titles), _row(["---"] * len(titles))]
    for path, item in sorted(document["paths"].items()):
        for method, operation in item.items():
            lines.append(_row(_cells(f"{method.upper()} {path}", operation["operationId"])))
    return "\n".join(lines) + "\n"


def _cells(route: str, operation_id: str) -> list[str]:
    access = ACCESS[operation_id]
    width = len(ROLES) + len(SCOPES)
    if access.public:
        grants = ["everybody", *[""] * (width - 1)]
    elif access.scrape:
        grants = ["loopback or the scrape token", *[""] * (width - 1)]
    else:
        grants = ["yes" if admits_role(access, role) else "" for role in ROLES]
        grants += ["yes" if access.any_key or access.scope == scope else "" for scope in SCOPES]
    limit = str(access.per_minute) if access.per_minute is not None else ""
    without = "" if not is_limited(access) else "goes on" if access.fail_open else "503"
    return [f"`{route}`", f"`{operation_id}`", *grants, limit, without]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or compare it: 1 if the committed one differs."""
    # The document does not depend on settings, but importing the apps reads them.
    os.environ.setdefault("DATABASE_URL", "postgresql+pg8000://nobody@/nothing")
    from infra.local.apps import openapi_document

    text = table(openapi_document())
    if "--check" in (sys.argv[1:] if argv is None else argv):
        if not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != text:
            print("docs/access.md is out of date: run 'make openapi'", file=sys.stderr)
            return 1
        print("docs/access.md is current.")
        return 0
    TABLE.write_text(text, encoding="utf-8")
    print("Wrote docs/access.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
