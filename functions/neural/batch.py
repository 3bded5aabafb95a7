"""Many decisions at once: one bad item does not fail the others, all good ones are one write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from functions.neural.service import Write, decide_one
from shared.config import Settings
from shared.decisions.reader import decision_fields
from shared.decisions.recorder import Recorded, record_decisions
from shared.decisions.snapshot import World
from shared.errors import DomainError, UnavailableError
from shared.schemas.neural import BatchItem, BatchOut, BatchRequest, DecisionOut, RouteRequest
from shared.web.batch import parse_item, problem_of

_PATH = "/api/neural/route/batch"


def route_all(
    engine: sa.Engine, world: World, settings: Settings, wanted: BatchRequest,
    caller: str, labels: Mapping[str, str], write: Write,
) -> BatchOut:  # fmt: skip
    """Decide for each item in order and record all decisions in one transaction of ``write``."""
    results = [
        _decide(engine, world, settings, item, index, caller, labels)
        for index, item in enumerate(wanted.items)
    ]
    with write() as connection:
        record_decisions(connection, [made for made in results if isinstance(made, Recorded)])
    return BatchOut(items=[_item(index, result) for index, result in enumerate(results)])


def _decide(
    engine: sa.Engine, world: World, settings: Settings, item: dict[str, Any], index: int,
    caller: str, labels: Mapping[str, str],
) -> Recorded | DomainError:  # fmt: skip
    try:
        request = parse_item(RouteRequest, item, index)
        return decide_one(engine, world, settings, request, caller, labels)
    except UnavailableError:
        raise
    except DomainError as error:
        return error


def _item(index: int, result: Recorded | DomainError) -> BatchItem:
    if isinstance(result, Recorded):
        decision = DecisionOut(**decision_fields(result.row))
        return BatchItem(index=index, decision=decision, problem=None)
    return BatchItem(index=index, decision=None, problem=problem_of(result, _PATH, index))
