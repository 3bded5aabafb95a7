"""Parameters by name: what they mean, what they look like, and what they take.

Routes say most of it themselves; here is what they cannot, because the same name means the same
everywhere, or because a header is read by hand and refused with 400 or 412 instead of 422.
"""

from __future__ import annotations

from typing import Any

from infra.openapi.headers import LINE_BYTES

_NUMBER = {"type": "number", "exclusiveMinimum": 0}
_MODELS = {"type": "string", "maxLength": LINE_BYTES, "pattern": "[^,\\s]"}

PARAMETER_SCHEMAS: dict[str, dict[str, Any]] = {
    "idempotency-key": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
    },
    # Whatever else it says is the tag of no state of ours: 412.
    "if-match": {"type": "string", "maxLength": 256},
    "x-davinci-task": {"type": "string", "maxLength": 64, "pattern": "^[a-z0-9][a-z0-9._-]*$"},
    "x-davinci-level": {"type": "string", "enum": ["L1", "L2", "L3", "L4"]},
    "x-davinci-session": {"type": "string", "maxLength": 128, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "x-davinci-priority": {"type": "string", "enum": ["low", "normal", "high"]},
    "x-davinci-max-cost-usd": _NUMBER,
    "x-davinci-max-latency-ms": _NUMBER,
    "x-davinci-timeout-s": _NUMBER,
    "x-davinci-models-allowed": _MODELS,
    "x-davinci-models-denied": _MODELS,
    "x-davinci-region": {"type": "string", "maxLength": 64, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "x-davinci-min-context-tokens": {
        "type": "integer", "format": "int32", "minimum": 1, "maximum": 999_999_999,
    },
}  # fmt: skip

DESCRIPTIONS = {
    "limit": "Items a page.",
    "level": "Only this level.",
    "model": "Only this model.",
    "policy": "Only this policy.",
    "task_type": "Only this task.",
    "caller": "Only this caller: a key's or a user's id.",
    "last-event-id": "Sequence of the last event that you have seen.",
}

PARAMETER_EXAMPLES: dict[str, Any] = {
    "limit": 50, "cursor": "bXkgY3Vyc29y", "after": 1042, "last-event-id": "1042",
    "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z", "task_type": "code.review",
    "if-match": '"1"', "if-none-match": 'W/"1"', "types": ["feedback.recorded"],
    "idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324", "x-davinci-client": "cli",
    "x-davinci-csrf": "1", "x-davinci-task": "code.review", "x-davinci-level": "L3",
    "x-davinci-session": "conversation-7", "x-davinci-timeout-s": 20, "min_regret_usd": 0.001,
    "x-davinci-priority": "normal", "x-davinci-max-cost-usd": 0.01,
    "x-davinci-max-latency-ms": 2_000, "x-davinci-region": "eu-west-1",
    "x-davinci-models-allowed": "openai/gpt-4o-mini,openai/gpt-4o",
    "x-davinci-models-denied": "openai/gpt-4o", "x-davinci-min-context-tokens": 8_192,
}  # fmt: skip
