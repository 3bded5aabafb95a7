"""Errors on the wire: RFC 9457 problems under ``/api``, OpenAI's error object under ``/v1``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from shared.errors import DomainError, FieldError
from shared.web.session import ReplayedError

PROBLEM_MEDIA_TYPE = "application/problem+json"
_TYPE_BASE = "https://davinci.dev/problems/"
# Problem types that somebody else has registered.
_REGISTERED = {
    "quota-exceeded": "https://iana.org/assignments/http-problem-types#quota-exceeded",
}

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}

_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}


def type_of(code: str) -> str:
    """Return the problem type's URI."""
    return _REGISTERED.get(code) or _TYPE_BASE + code


def problem(
    path: str,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Response:
    """Return the error response that clients of ``path`` can parse."""
    if path.startswith("/v1/"):
        kind, openai_code = _openai_names(status, code, extra or {})
        body: dict[str, Any] = {
            "error": {
                "message": " ".join([detail, *(f"{e.pointer}: {e.detail}." for e in errors)]),
                "type": kind,
                "param": errors[0].pointer.removeprefix("#/") if errors else None,
                "code": openai_code,
            }
        }
        return JSONResponse(body, status, dict(headers or {}))
    body = {
        "type": type_of(code),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "errors": [{"pointer": e.pointer, "detail": e.detail} for e in errors],
        **(extra or {}),
    }
    return JSONResponse(body, status, dict(headers or {}), media_type=PROBLEM_MEDIA_TYPE)


def _openai_names(status: int, code: str, extra: Mapping[str, object]) -> tuple[str, str]:
    """Return (type, code) as OpenAI's API names such an error."""
    if code == "quota-exceeded":
        violated = extra.get("violated-policies")
        is_tokens = isinstance(violated, list) and "tpm" in violated
        return ("tokens" if is_tokens else "requests"), "rate_limit_exceeded"
    kind = "invalid_request_error" if status < 500 else "api_error"
    return _OPENAI_TYPES.get(status, kind), code.replace("-", "_")


def internal_error(path: str, request_id: str) -> Response:
    """Return the answer to an error that nobody foresaw: an id to quote, nothing of the inside."""
    detail = f"Something failed on our side. Quote the request id {request_id} when you report it."
    return problem(path, 500, "internal-error", "Internal error", detail)


def install(app: FastAPI) -> None:
    """Make every error that FastAPI and the domains raise a problem."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


async def answer_to(request: Request, error: Exception) -> Response | None:
    """Return the answer that such an error has; None of one that nobody foresaw."""
    for kind in type(error).__mro__:
        if (answer := _ANSWERS.get(kind)) is not None:
            return await answer(request, error)
    return None


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return problem(
        request.url.path, error.status, error.code, error.title, error.detail,
        errors=error.errors, headers=error.headers, extra=error.extra,
    )  # fmt: skip


async def _on_replay(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ReplayedError)
    answer = Response(error.answer.body, error.answer.status)
    answer.raw_headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in error.answer.headers
    ]
    answer.headers["idempotency-replayed"] = "true"
    return answer


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    path = request.url.path
    malformed = next((fault for fault in faults if fault["type"] == "json_invalid"), None)
    if malformed is not None:
        detail = f"The body is not valid JSON: {malformed['ctx']['error']}."
        return problem(path, 400, "malformed-json", "Malformed JSON", detail)
    errors = [FieldError(_pointer(fault, error.body), said_of(fault)) for fault in faults]
    detail = "The request does not fit the schema; every fault is listed with its place."
    return problem(path, 422, "invalid-input", "Invalid input", detail, errors=errors)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's own word for a body that it cannot read
        detail = "The body is not valid JSON in UTF-8."
        return problem(request.url.path, 400, "malformed-json", "Malformed JSON", detail)
    # Python before 3.13 still calls 413 and 422 by their old names.
    phrase = _PHRASES.get(error.status_code) or HTTPStatus(error.status_code).phrase
    detail = {
        404: "There is nothing at this path. /openapi.json lists every route.",
        405: "This path does not take this method; Allow names those it takes.",
    }.get(error.status_code, str(error.detail))
    code = phrase.lower().replace(" ", "-")
    return problem(request.url.path, error.status_code, code, phrase, detail, headers=error.headers)


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    DomainError: _on_domain_error,
    RequestValidationError: _on_validation_error,
    HTTPException: _on_http_exception,
    ReplayedError: _on_replay,
}


def _pointer(fault: Mapping[str, Any], body: object) -> str:
    """Return ``#/a/0/b`` for a place in the body, ``?name`` for a query parameter."""
    place, *rest = fault["loc"]
    if place == "body":
        return pointer_into(body, rest, is_missing=fault["type"] == "missing")
    kind = {"query": "?", "header": "header:", "path": "path:"}.get(str(place), "")
    # A parameter that may be repeated is one place to a caller, whichever of its values is wrong.
    return kind + str(rest[0])


def said_of(fault: Mapping[str, Any]) -> str:
    """Return what is wrong in our own words where the rule is ours, else in pydantic's."""
    return str(fault["ctx"]["error"] if fault["type"] == "value_error" else fault["msg"])


def pointer_into(document: object, location: Sequence[int | str], *, is_missing: bool) -> str:
    """Return the RFC 6901 pointer of a fault that pydantic located.

    Pydantic also names union members and "[key]", which are no places in the document: the pointer
    ends before them, unless the fault is that the place is missing.
    """
    pointer = "#"
    for part in location:
        is_there = (isinstance(document, dict) and part in document) or (
            isinstance(document, list) and isinstance(part, int) and part < len(document)
        )
        if not is_there and not is_missing:
            break
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
        document = document[part] if is_there else None  # type: ignore[index]
    return pointer
