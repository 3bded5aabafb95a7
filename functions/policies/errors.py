"""What can go wrong with policies."""

from __future__ import annotations

from shared.errors import ConflictError, NotFoundError


class PolicyNotFoundError(NotFoundError):
    code, title = "policy-not-found", "Policy not found"


class PolicyExistsError(ConflictError):
    code, title = "policy-exists", "Policy exists"
