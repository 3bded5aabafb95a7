"""No secret is compared with ``==`` in what we deploy: that takes as long as the likeness is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEPLOYED = sorted(p for folder in ("shared", "functions") for p in (ROOT / folder).rglob("*.py"))
_SECRET = re.compile(
    # "tokens" are counted, never compared: they are what models are paid by.
    r"(^|_)(secrets?|sig|signatures?|hash(es)?|digests?|token|passwords?|h?mac|checksums?)(_|$)"
)
# The only names that look like secrets and are none.
_HARMLESS = {
    "prompt_hash": "identifies a prompt for its caller",
    "session_hash": "identifies a conversation for its caller",
    "token_type": "a word of the protocol",
}


def _names(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.Call(func=function, args=arguments):
            yield from _names(function)
            for argument in arguments:
                yield from _names(argument)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
            yield key
            yield from _names(value)
        case ast.Subscript(value=value) | ast.Await(value=value):
            yield from _names(value)


def _is_column(node: ast.expr) -> bool:
    """``users.c.x``, or ``c.x`` and ``t.x`` where those are a table's columns: makes SQL."""
    match node:
        case ast.Attribute(value=ast.Attribute(attr="c")):
            return True
        case ast.Attribute(value=ast.Name(id="c" | "t")):
            return True
    return False


def offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        # No secret is a constant of ours, and SQL's comparison is a lookup by a hash's index.
        if any(isinstance(s, ast.Constant) or _is_column(s) for s in sides):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        for name in (n for side in sides for n in _names(side)):
            if _SECRET.search(name.lower()) and name not in _HARMLESS:
                yield node.lineno, name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("given == self._token", True),
        ("if signature != expected: pass", True),
        ("row.secret_hash == wanted", True),
        ("a == hash_of(entry)", True),
        ("entry['hash'] == other", True),
        ("bytes(mac) != given", True),
        ("sig == x == y", True),
        ("api_keys.c.secret_hash == wanted", False),
        ("c.secret_hash == wanted", False),
        ("row.c_secret == wanted", True),
        ("token == ''", False),
        ("hmac.compare_digest(token, expected)", False),
        ("token is None", False),
        ("n_tokens_in == 3", False),
        ("row.tokens_in == other.tokens_in", False),
    ],
)
def test_the_rule_finds_what_it_should(source: str, found: bool) -> None:
    assert bool(list(offences(ast.parse(source)))) is found


def test_a11_no_secret_is_compared_with_equals() -> None:
    assert len(DEPLOYED) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in DEPLOYED
        for line, name in offences(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []
