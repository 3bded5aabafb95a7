"""What callers say of a request beside it: ``x-davinci-*`` headers, or ``metadata``. Pure.

Clients that cannot set headers per request send the same words as ``davinci_*`` in ``metadata``;
a header wins. They are never passed on to a provider.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from functions.gateway.errors import InvalidValueError
from shared.errors import FieldError
from shared.routing.types import LEVELS, Constraints, Level

HEADERS: Mapping[str, str] = {
    "x-davinci-task": "What the request is, a short slug such as `code.review`.",
    "x-davinci-level": "L1, L2, L3 or L4; overrides the classifier.",
    "x-davinci-session": "Conversation; keeps its model where that is worth it.",
    "x-davinci-priority": "low, normal or high.",
    "x-davinci-max-cost-usd": "Largest predicted cost, US dollars.",
    "x-davinci-max-latency-ms": "Largest predicted latency, milliseconds.",
    "x-davinci-models-allowed": "Only these models, by comma.",
    "x-davinci-models-denied": "None of these models, by comma.",
    "x-davinci-region": "Only models in this region.",
    "x-davinci-min-context-tokens": "Only models whose context holds so many tokens.",
    "x-davinci-timeout-s": "Answer or fail within so many seconds; shortens, never lengthens.",
}
_TASK = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONGEST = 8_192
_MOST_MODELS = 200


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller says of the request."""

    task: str | None = None
    level: Level | None = None
    session: str | None = None
    priority: Any = "normal"
    constraints: Constraints = field(default_factory=Constraints)
    timeout_s: float | None = None


NO_HINTS = Hints()


def read_hints(headers: Mapping[str, str], metadata: Mapping[str, str] | None) -> Hints:
    """Return what ``headers`` (lower-case names) and ``metadata`` say.

    Raises
    ------
    InvalidValueError
        Naming the header or member that is at fault.
    """
    if not metadata and not any(name.startswith("x-davinci-") for name in headers):
        return NO_HINTS
    words: dict[str, tuple[str, str]] = {}
    for name in HEADERS:
        word = name.removeprefix("x-davinci-")
        member = "davinci_" + word.replace("-", "_")
        if (value := headers.get(name)) is not None:
            words[word] = (f"header:{name}", value)
        elif metadata and (value := metadata.get(member)) is not None:
            words[word] = (f"#/metadata/{member}", value)
    return _hints(words) if words else NO_HINTS


def without_hints(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return ``metadata`` as the provider gets it."""
    return {name: value for name, value in metadata.items() if not name.startswith("davinci_")}


def _hints(words: Mapping[str, tuple[str, str]]) -> Hints:
    def read(word: str, parse: Any) -> Any:
        if word not in words:
            return None
        pointer, text = words[word]
        try:
            return parse(text.strip())
        except ValueError as error:
            raise InvalidValueError(
                f"{_said(pointer)} {error}.", errors=[FieldError(pointer, str(error))]
            ) from None

    return Hints(
        task=read("task", _task),
        level=read("level", _level),
        session=read("session", _session),
        priority=read("priority", _priority) or "normal",
        timeout_s=read("timeout-s", _positive),
        constraints=Constraints(
            models_allowed=read("models-allowed", _models),
            models_denied=read("models-denied", _models) or frozenset(),
            max_cost_usd=read("max-cost-usd", _positive),
            max_latency_ms=read("max-latency-ms", _positive),
            region=read("region", _short),
            min_context_tokens=read("min-context-tokens", _count),
        ),
    )


def _said(pointer: str) -> str:
    return pointer.removeprefix("header:").removeprefix("#/metadata/")


def _task(text: str) -> str:
    if not _TASK.fullmatch(text):
        raise ValueError("takes a short slug such as code.review")
    return text


def _level(text: str) -> Level:
    for level in LEVELS:
        if level == text:
            return level
    raise ValueError(f"takes one of {', '.join(LEVELS)}")


def _priority(text: str) -> str:
    if text not in {"low", "normal", "high"}:
        raise ValueError("takes low, normal or high")
    return text


def _session(text: str) -> str:
    if not 0 < len(text) <= 128:
        raise ValueError("takes 1 to 128 characters")
    return text


def _short(text: str) -> str:
    if not 0 < len(text) <= 64:
        raise ValueError("takes 1 to 64 characters")
    return text


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError("takes a number above 0")
    return number


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise ValueError("takes a whole number above 0")
    return int(text)


def _models(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text[:_LONGEST].split(",") if name.strip())
    if not names or len(names) > _MOST_MODELS:
        raise ValueError("takes model ids, separated by commas")
    return names
