"""What can go wrong when routing."""

from __future__ import annotations

from shared.errors import NotFoundError


class DecisionNotFoundError(NotFoundError):
    code, title = "decision-not-found", "Decision not found"


class PolicyVersionNotFoundError(NotFoundError):
    code, title = "policy-version-not-found", "Policy version not found"
