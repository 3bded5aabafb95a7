"""Every error that an operation can answer: its statuses, its problem types, an example of each.

The types come from the exception classes themselves (``shared.errors`` and each domain's
``errors.py``), so a new class is documented as soon as it exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from infra.openapi import headers
from shared.errors import DomainError, FieldError
from shared.web.problems import PROBLEM_MEDIA_TYPE, problem
from shared.web.responses import problems

_FAULTS = [FieldError("#/prompt", "Field required")]


@dataclass(frozen=True)
class Kind:
    """One problem type: where it can happen and what it says."""

    status: int
    code: str
    title: str
    detail: str
    # A domain's name; None: every operation that documents the status.
    domain: str | None = None
    # Only where this header is taken.
    header: str | None = None
    errors: list[FieldError] = field(default_factory=list, compare=False)


# What the framework refuses before a route runs; the exception classes know the rest.
_FRAMEWORK = (
    Kind(400, "malformed-json", "Malformed JSON", "The body is not valid JSON."),
    Kind(
        413, "content-too-large", "Content too large", "The body is larger than 1048576 bytes."
    ),
    Kind(
        414, "uri-too-long", "URI too long", "Path and query are longer than 10240 bytes."
    ),
    Kind(
        431, "headers-too-large", "Headers too large",
        "Path, query and headers are longer than 10240 bytes.",
    ),
    Kind(
        415, "unsupported-media-type", "Unsupported media type",
        "Send application/json, not 'text/plain'.",
    ),
    Kind(
        422, "invalid-input", "Invalid input",
        "The request does not fit the schema; every fault is listed with its place.",
        errors=_FAULTS,
    ),
    Kind(
        500, "internal-error", "Internal error",
        "Something failed on our side. Quote the request id when you report it.",
    ),
)  # fmt: skip


# Modules whose errors can only come from one header.
_HEADERS = {"shared.web.idempotency": "idempotency-key"}


def kinds() -> list[Kind]:
    """Return every problem type of the imported applications, by status and code."""
    found = {(kind.status, kind.code, kind.domain): kind for kind in _FRAMEWORK}
    for error in _classes(DomainError):
        if "code" not in vars(error):
            continue
        parts = error.__module__.split(".")
        domain = parts[1] if parts[0] == "functions" else None
        text = (error.__doc__ or "").strip().split("\n\n", maxsplit=1)[0]
        detail = " ".join(text.split()) if text and "code" in vars(error) else error.title + "."
        header = _HEADERS.get(error.__module__)
        kind = Kind(error.status, error.code, error.title, detail, domain, header)
        found.setdefault((kind.status, kind.code, domain), kind)
    return [found[key] for key in sorted(found, key=lambda k: (k[0], k[1], k[2] or ""))]


def _reason(status: int) -> str:
    try:
        return str(problems(status)[status]["description"])
    except KeyError:
        return f"{HTTPStatus(status).phrase}."


def _classes(base: type[DomainError]) -> Iterator[type[DomainError]]:
    for error in base.__subclasses__():
        if error.__module__.split(".")[0] in {"shared", "functions"}:
            yield error
        yield from _classes(error)


class Errors:
    """Writes the error answers of one document's operations, each shared shape once."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._kinds = kinds()
        self._responses: dict[str, Any] = components.setdefault("responses", {})
        self._examples: dict[str, Any] = components.setdefault("examples", {})

    def answer(
        self, status: int, *, path: str, domain: str, limited: bool, header_names: set[str]
    ) -> dict[str, str]:
        """Return the reference to the answer with ``status`` of an operation of ``domain``."""
        is_openai = path.startswith("/v1/")
        mine = [
            kind
            for kind in self._kinds
            if kind.status == status
            and kind.domain in {None, domain}
            and (kind.header is None or kind.header in header_names)
        ]
        name = ("OpenAI" if is_openai else "Problem") + str(status)
        if any(kind.domain == domain for kind in mine):
            name += domain.capitalize()
        if any(kind.header is not None for kind in mine):
            name += "Idempotent"
        if not limited:
            name += "Unlimited"
        self._responses.setdefault(name, self._made(status, mine, is_openai, limited))
        return {"$ref": f"#/components/responses/{name}"}

    def _made(
        self, status: int, mine: list[Kind], is_openai: bool, limited: bool
    ) -> dict[str, Any]:
        schema, media_type = (
            ("OpenAIError", "application/json") if is_openai else ("Problem", PROBLEM_MEDIA_TYPE)
        )
        content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
        if mine:
            content["examples"] = {kind.code: self._example(kind, is_openai) for kind in mine}
        return {
            "description": _reason(status),
            "headers": headers.of_answer(status, limited=limited, tagged=False, idempotent=False),
            "content": {media_type: content},
        }

    def _example(self, kind: Kind, is_openai: bool) -> dict[str, str]:
        path = "/v1/chat/completions" if is_openai else "/api/neural/route"
        name = f"{'openai' if is_openai else 'problem'}-{kind.status}-{kind.code}"
        if name not in self._examples:
            answer = problem(
                path, kind.status, kind.code, kind.title, kind.detail, errors=kind.errors
            )
            value = json.loads(bytes(answer.body))
            self._examples[name] = {"summary": kind.title, "value": value}
        return {"$ref": f"#/components/examples/{name}"}
