"""The table of promises names tests and commands that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from infra.bench.__main__ import BENCHES

ROOT = Path(__file__).parents[2]
PROMISES = ROOT / "docs" / "promises.md"
_ID = re.compile(r"[A-Z]{1,2}[0-9]+[a-z]?(, [A-Z]{1,2}[0-9]+[a-z]?)*")


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def faults(text: str) -> list[str]:
    """Return what is wrong with the table, each with its remedy."""
    found = []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for cells in rows(text):
        if len(cells) != 5 or not all(cells):
            found.append(f"{cells[0]}: give the row all five cells")
            continue
        name, _promise, _what, checked_by, figure = cells
        if not _ID.fullmatch(name):
            found.append(f"{name!r} is no id of a promise")
        if "@" in figure:
            found.append(f"{name}: fill in the figure {figure}")
        checks = re.findall(r"`([^`]+)`", checked_by)
        if not checks:
            found.append(f"{name}: name the test or command that checks it, in backticks")
        found += [f"{name}: {fault}" for check in checks if (fault := _fault(check, targets))]
    return found


def _fault(check: str, targets: set[str]) -> str | None:
    if check.startswith("make "):
        is_there = check.removeprefix("make ").split()[0] in targets
        return None if is_there else f"the Makefile has no target for {check!r}"
    if check.startswith("davinci bench "):
        is_there = check.removeprefix("davinci bench ") in BENCHES
        return None if is_there else f"there is no benchmark {check!r}"
    return None if _is_test(check) else f"there is no test {check!r}: rename it here too"


def _is_test(node_id: str) -> bool:
    """Return whether pytest would collect the test: its file defines a function of that name."""
    path, _, names = node_id.partition("::")
    file = ROOT / path
    if not (path.startswith("tests/") and file.name.startswith("test_") and file.is_file()):
        # The dashboard's tests are vitest's: the file is the test.
        return path.startswith("web/") and ".test." in path and file.is_file() and not names
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for name in filter(None, names.split("::")):
        inner = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == name
        ]
        if not inner or not name.lower().startswith("test"):
            return False
        body = inner[0].body
    return True


def test_every_promise_names_a_check_that_exists() -> None:
    assert faults(PROMISES.read_text(encoding="utf-8")) == []


def test_every_promise_is_made_once() -> None:
    names = [cells[0] for cells in rows(PROMISES.read_text(encoding="utf-8"))]
    assert names and len(names) == len(set(names))


def test_the_readme_names_no_test_that_is_not_there() -> None:
    for page in ("README.md", "README.ko.md"):
        named = re.findall(r"tests/[\w/]+\.py(?:::\w+)*", (ROOT / page).read_text(encoding="utf-8"))
        assert [name for name in named if not _is_test(name)] == [], page


def test_the_readme_shows_every_promise_with_one_of_its_checks() -> None:
    promised = {cells[0]: cells[3] for cells in rows(PROMISES.read_text(encoding="utf-8"))}
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    head = "| id | security and API behaviour | checked by |"
    shown: dict[str, list[str]] = {}
    for line in readme[readme.index(head) + 2 :]:
        if not line.startswith("|"):
            break
        ids, _, checks = (cell.strip() for cell in line.strip("|").split(" | "))
        for name in _ids(ids):
            shown[name] = re.findall(r"`([^`]+)`", checks)
    assert shown.keys() == promised.keys()
    for name, named in shown.items():
        assert any(check in promised[name] for check in named), name


def _ids(text: str) -> list[str]:
    """Return the ids of ``A1``, ``A9, A10`` or ``L1 - L4``."""
    if " - " in text:
        first, last = text.split(" - ")
        return [f"{first[0]}{n}" for n in range(int(first[1:]), int(last[1:]) + 1)]
    return text.split(", ")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("| A1 | p | w | `tests/unit/test_nothing.py::test_x` | 0 |", "no test"),
        ("| A1 | p | w | `tests/architecture/test_promises.py::test_gone` | 0 |", "no test"),
        ("| A1 | p | w | `make nothing` | 0 |", "no target"),
        ("| A1 | p | w | `davinci bench nothing` | 0 |", "no benchmark"),
        ("| A1 | p | w | by hand | 0 |", "in backticks"),
        ("| A1 | p | w | `make test` | @A1@ |", "fill in"),
        ("| A1 | p | w | `make test` |  |", "five cells"),
        ("| a | p | w | `make test` | 0 |", "no id"),
    ],
)
def test_a_wrong_row_is_found(row: str, said: str) -> None:
    (found,) = faults(f"| id |\n| --- |\n{row}\n")
    assert said in found


def test_a_right_row_passes() -> None:
    checks = "`tests/architecture/test_promises.py::test_a_right_row_passes` `make test`"
    assert faults(f"| id |\n| --- |\n| A1 | p | w | {checks} | 0 |\n") == []
