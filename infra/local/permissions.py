"""May EventBridge send to this queue? The answer a queue's resource policy gives on AWS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from infra.local.intrinsics import ACCOUNT_ID, TemplateError

_SERVICE = "events.amazonaws.com"
_ACTION = "sqs:SendMessage"
# The globs of IAM are * and ? only; fnmatch would also read [ as a set.
_EXACT = {"StringEquals", "Bool"}
_GLOB = {"ArnEquals", "ArnLike", "StringLike"}


def allows_events(statements: Sequence[Mapping[str, Any]], queue_arn: str, rule_arn: str) -> bool:
    """Return whether policy ``statements`` let the rule send to the queue: default deny.

    Raises
    ------
    TemplateError
        If a statement uses a condition that is not understood here; guessing could hide a
        delivery that fails on AWS.
    """
    request = {
        "aws:sourcearn": rule_arn,
        "aws:sourceaccount": ACCOUNT_ID,
        "aws:securetransport": "true",
    }
    effects = {s.get("Effect") for s in statements if _applies(s, queue_arn, request)}
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: Mapping[str, Any], queue_arn: str, request: Mapping[str, str]) -> bool:
    return (
        _names_service(statement.get("Principal"))
        and any(_glob(_ACTION.lower(), str(a).lower()) for a in _listed(statement.get("Action")))
        and any(_glob(queue_arn, str(arn)) for arn in _listed(statement.get("Resource")))
        and all(
            _holds(operator, str(key).lower(), wanted, request)
            for operator, keys in (statement.get("Condition") or {}).items()
            for key, wanted in keys.items()
        )
    )


def _names_service(principal: Any) -> bool:
    if isinstance(principal, dict):
        return _SERVICE in _listed(principal.get("Service")) or principal.get("AWS") == "*"
    return bool(principal == "*")


def _holds(operator: str, key: str, wanted: Any, request: Mapping[str, str]) -> bool:
    values = [str(value) for value in _listed(wanted)]
    if operator == "Bool":
        values = [value.lower() for value in values]
    if key not in request or operator not in _EXACT | _GLOB:
        raise TemplateError(f"queue policy condition {operator} {key} is not supported locally")
    if operator in _EXACT:
        return request[key] in values
    return any(_glob(request[key], value) for value in values)


def _glob(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
