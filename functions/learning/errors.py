"""What can go wrong when judging."""

from __future__ import annotations

from shared.errors import ConflictError, NotFoundError


class DecisionNotFoundError(NotFoundError):
    code, title = "decision-not-found", "Decision not found"


class FeedbackDiffersError(ConflictError):
    """The same source judged the same decision differently before."""

    code, title = "feedback-differs", "Feedback differs"


class PolicyVersionNotFoundError(NotFoundError):
    code, title = "policy-version-not-found", "Policy version not found"


class NotEnoughFeedbackError(ConflictError):
    """The window holds too few judged decisions to say anything."""

    code, title = "not-enough-feedback", "Not enough feedback"
