"""Batches: every item is checked on its own and answered by itself or by its problem."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import DomainError, FieldError, InvalidInputError
from shared.schemas.common import Problem, ProblemField
from shared.web.problems import pointer_into, said_of, type_of

Item = TypeVar("Item", bound=BaseModel)


def parse_item(schema: type[Item], item: dict[str, Any], index: int) -> Item:
    """Return the item by its schema.

    Raises
    ------
    InvalidInputError
        With a JSON pointer into the whole batch for every fault.
    """
    try:
        return schema.model_validate(item)
    except ValidationError as error:
        places = [
            FieldError(
                f"#/items/{index}"
                + pointer_into(item, fault["loc"], is_missing=fault["type"] == "missing")[1:],
                said_of(fault),
            )
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidInputError("This item does not fit the schema.", errors=places) from error


def problem_of(error: DomainError, path: str, index: int) -> Problem:
    """Return the item's problem document."""
    return Problem(
        type=type_of(error.code),
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=f"{path}#/items/{index}",
        errors=[ProblemField(pointer=e.pointer, detail=e.detail) for e in error.errors],
    )
