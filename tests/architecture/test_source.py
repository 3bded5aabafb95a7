"""Rules about the source that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(
    path
    for folder in ("functions", "shared", "infra")
    for path in (ROOT / folder).rglob("*.py")
    if "versions" not in path.parts
)
_SECRET = re.compile(r"(^|_)(secret|token|password|signature|mac|digest|checksum|hmac|hash)(_|s?$)")
# Compared with a public value, or with what the database says: nothing to time.
_HARMLESS = {"token_type", "prompt_hash", "session_hash"}


def test_imports_keep_their_direction() -> None:
    config = str(ROOT / "pyproject.toml")
    assert cli.lint_imports(config_filename=config, no_cache=True) == cli.EXIT_STATUS_SUCCESS


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _name(function)
    return ""


def _secret_comparisons(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue  # `== ""`, `== b"S"`: no secret is a constant of ours
        for side in sides:
            name = _name(side)
            if _SECRET.search(name.lower()) and name not in _HARMLESS:
                yield node.lineno, name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("given == self._token", True),
        ("if signature != expected: pass", True),
        ("row.secret_hash == wanted", True),
        ("token == ''", False),
        ("hmac.compare_digest(token, expected)", False),
        ("n_tokens == 3", False),
    ],
)
def test_the_rule_finds_what_it_should(source: str, found: bool) -> None:
    assert bool(list(_secret_comparisons(ast.parse(source)))) is found


def test_secrets_are_compared_in_constant_time() -> None:
    offences = []
    # The replay is a client: it compares secrets of its own with each other.
    for path in (p for p in PRODUCT if "replay" not in p.parts):
        source = path.read_text(encoding="utf-8")
        for line, name in _secret_comparisons(ast.parse(source)):
            text = source.splitlines()[line - 1]
            # SQLAlchemy's == makes an SQL condition: the lookup is by a hash's index.
            if ".c." not in text:
                offences.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert offences == []


def test_nothing_prints_or_debugs() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PRODUCT
        if "infra" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _name(node.func) in {"print", "breakpoint", "pdb"}
    ]
    assert offences == []


@pytest.mark.parametrize("layer", ["routes", "service", "repository"])
def test_each_layer_of_a_domain_leaves_the_others_work_alone(layer: str) -> None:
    forbidden = {
        "routes": ("sqlalchemy", "os", "boto3"),
        "service": ("fastapi", "starlette", "os", "boto3"),
        "repository": ("fastapi", "starlette", "os", "boto3", "shared.web"),
    }[layer]
    offences = []
    for path in (ROOT / "functions").glob(f"*/{layer}.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            offences += [
                f"{path.relative_to(ROOT)}: {name}"
                for name in names
                if any(name == f or name.startswith(f + ".") for f in forbidden)
                and not name.startswith("starlette.exceptions")
            ]
    assert offences == []
