"""What can go wrong when judging."""

from __future__ import annotations

from shared.errors import ConflictError, NotFoundError


class DecisionNotFoundError(NotFoundError):
    code, title = "decision-not-found", "Decision not found"


class FeedbackDiffersError(ConflictError):
    """The same source judged the same decision differently before."""

    code, title = "feedback-differs", "Feedback differs"
