"""Errors that a caller can act on.

DomainError
 +-- NotFoundError             404
 +-- ConflictError             409
 +-- InvalidInputError         422
 +-- UnauthenticatedError      401
 +-- ForbiddenError            403
 +-- PreconditionFailedError   412
 +-- PreconditionRequiredError 428
 +-- UpstreamError             502
 +-- UnavailableError          503

Domains subclass these in their ``errors.py``; ``shared.web.problems`` renders every one of them.
Each says what is wrong (``detail``), where (``errors``: JSON pointers) and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One faulty place of the input: an RFC 6901 pointer and what is wrong with it."""

    pointer: str
    detail: str


class DomainError(Exception):
    """Base of all errors with a status of their own; anything else is a 500."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers or {}
        self.extra = extra or {}


class NotFoundError(DomainError):
    status, code, title = 404, "not-found", "Not found"


class ConflictError(DomainError):
    status, code, title = 409, "conflict", "Conflict"


class InvalidInputError(DomainError):
    status, code, title = 422, "invalid-input", "Invalid input"


class UnauthenticatedError(DomainError):
    status, code, title = 401, "unauthenticated", "Credentials missing or invalid"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="davinci"'})


class ForbiddenError(DomainError):
    status, code, title = 403, "forbidden", "Not allowed"


class PreconditionFailedError(DomainError):
    status, code, title = 412, "precondition-failed", "Precondition failed"


class PreconditionRequiredError(DomainError):
    status, code, title = 428, "precondition-required", "Precondition required"


class UpstreamError(DomainError):
    status, code, title = 502, "upstream-failed", "Model provider failed"


class UnavailableError(DomainError):
    status, code, title = 503, "unavailable", "Temporarily unavailable"


class DatabaseUnavailableError(UnavailableError):
    """The database could not be reached or broke off; the write may be retried safely."""

    code, title = "database-unavailable", "Database unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The database cannot be reached. Nothing was half-written; try again shortly.",
            headers={"Retry-After": "2"},
        )
