"""EventBridge's event patterns.

Left out, and refused when a rule is read: ``wildcard`` and ``cidr``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.intrinsics import TemplateError

Matcher = Callable[[Any], bool]
_Test = Callable[[list[Any]], bool]

_ABSENT = object()
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "prefix": str.startswith,
    "suffix": str.endswith,
    "equals-ignore-case": lambda value, wanted: value.lower() == wanted.lower(),
}


def compile_pattern(pattern: Mapping[str, Any]) -> Matcher:
    """Return a test of events for ``pattern``.

    All keys must match; one entry of a list must; ``$or`` takes alternatives.

    Raises
    ------
    TemplateError
        If the pattern is not valid or uses an operator that is not supported here.
    """
    if not isinstance(pattern, dict) or not pattern:
        raise TemplateError(f"an event pattern is an object with at least one key: {pattern!r}")
    tests = [
        _any_of([compile_pattern(choice) for choice in wanted])
        if key == "$or"
        else _field(key, wanted)
        for key, wanted in pattern.items()
    ]
    return lambda event: all(test(event) for test in tests)


def _any_of(tests: list[Matcher]) -> Matcher:
    return lambda event: any(test(event) for test in tests)


def _field(key: str, wanted: Any) -> Matcher:
    if isinstance(wanted, list):
        tests = [_leaf(entry) for entry in wanted]
        return lambda event: any(test(_values(_child(event, key))) for test in tests)
    nested = compile_pattern(wanted)

    def matches(event: Any) -> bool:
        child = _child(event, key)
        # Keys of one pattern must hold in one element of an array of objects.
        return any(map(nested, child)) if isinstance(child, list) else nested(child)

    return matches


def _child(event: Any, key: str) -> Any:
    return event.get(key, _ABSENT) if isinstance(event, dict) else _ABSENT


def _values(value: Any) -> list[Any]:
    """Return the leaf values of a field; an array matches if one of its elements does."""
    if isinstance(value, list):
        return [leaf for element in value for leaf in _values(element)]
    return [] if value is _ABSENT or isinstance(value, dict) else [value]


def _leaf(entry: Any) -> _Test:
    if not isinstance(entry, dict):
        return lambda values: any(_equal(value, entry) for value in values)
    if len(entry) != 1:
        raise TemplateError(f"one operator at a time: {entry!r}")
    [(name, operand)] = entry.items()
    if name == "exists":
        return lambda values: bool(values) == operand
    if name == "anything-but":
        denied = [_leaf(item) for item in (operand if isinstance(operand, list) else [operand])]
        return lambda values: any(not any(test([v]) for test in denied) for v in values)
    if name == "numeric":
        return _numeric(operand)
    if name in _TEXT_TESTS:
        return _text(name, operand)
    raise TemplateError(f"event pattern operator {name!r} is not supported by the local cloud")


def _text(name: str, operand: Any) -> _Test:
    test = _TEXT_TESTS[name]
    if isinstance(operand, list):  # anything-but: {prefix: [a, b]}
        choices = [_text(name, item) for item in operand]
        return lambda values: any(choice(values) for choice in choices)
    if isinstance(operand, dict):  # prefix: {equals-ignore-case: x}
        wanted = str(operand["equals-ignore-case"]).lower()
        return lambda values: any(isinstance(v, str) and test(v.lower(), wanted) for v in values)
    return lambda values: any(isinstance(v, str) and test(v, str(operand)) for v in values)


def _numeric(operand: Any) -> _Test:
    pairs = list(zip(operand[::2], operand[1::2], strict=True))
    bounds = [(_COMPARISONS[sign], limit) for sign, limit in pairs]
    return lambda values: any(
        _is_number(value) and all(compare(value, limit) for compare, limit in bounds)
        for value in values
    )


def _equal(value: Any, wanted: Any) -> bool:
    # JSON tells true from 1, Python does not.
    same_kind = type(value) is type(wanted) or (_is_number(value) and _is_number(wanted))
    return same_kind and bool(value == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
