"""Folds the event log into the learner's state and the rollups when the log has grown.

The queue's messages only say that there is something to fold: the watermark, not the message,
says what, so duplicates and reordering change nothing.
"""

from __future__ import annotations

from typing import Any

from shared.db.engine import get_engine
from shared.observability.logging import get_logger
from shared.projections import learner, rollups
from shared.projections.runner import advance


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Fold what is waiting; an error makes the whole batch visible again."""
    engine = get_engine()
    folded = {
        learner.NAME: advance(engine, learner.NAME, learner.fold_learner),
        rollups.NAME: advance(engine, rollups.NAME, rollups.fold_rollups),
    }
    get_logger().info("projections advanced", extra={"folded": folded})
    return {"batchItemFailures": []}
