"""Many judgements at once, in one transaction: a bad item writes nothing and fails nobody else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from functions.learning.service import record_feedback
from shared.errors import DomainError, UnavailableError
from shared.schemas.learning import (
    FeedbackBatch,
    FeedbackBatchItem,
    FeedbackBatchOut,
    FeedbackCreate,
)
from shared.web.batch import parse_item, problem_of

_PATH = "/api/learning/feedback/batch"


def record_all(
    connection: sa.Connection, wanted: FeedbackBatch, caller: str, now: datetime
) -> FeedbackBatchOut:
    """Record each judgement in order."""
    items = [
        _record(connection, item, index, caller, now) for index, item in enumerate(wanted.items)
    ]
    return FeedbackBatchOut(items=items)


def _record(
    connection: sa.Connection, item: dict[str, Any], index: int, caller: str, now: datetime
) -> FeedbackBatchItem:
    try:
        stored, added = record_feedback(
            connection, parse_item(FeedbackCreate, item, index), caller, now
        )
    except UnavailableError:
        raise
    except DomainError as error:
        problem = problem_of(error, _PATH, index)
        return FeedbackBatchItem(index=index, feedback=None, added=False, problem=problem)
    return FeedbackBatchItem(index=index, feedback=stored, added=added, problem=None)
