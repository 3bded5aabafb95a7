"""The registry: which models there are, where, at what price, within what limits."""

from __future__ import annotations

import sqlalchemy as sa

from functions.models import repository
from functions.models.errors import ModelExistsError, ModelNotFoundError
from shared.audit import SYSTEM, Actor, record
from shared.db.rows import AnyRow
from shared.errors import FieldError, InvalidInputError
from shared.schemas.models import Model, ModelCreate, ModelUpdate
from shared.web.etag import require_match

_PRICES = ("input_usd_per_mtok", "output_usd_per_mtok")
_NULLABLE = {*_PRICES, "secret_ref", "max_tokens_out", "region"}
# What a change moves by itself.
_STAMPS = {"revision", "created_at", "updated_at"}


def register(connection: sa.Connection, wanted: ModelCreate, actor: Actor = SYSTEM) -> Model:
    """Add a model to the registry.

    Raises
    ------
    ModelExistsError
        If the id is taken.
    """
    values = wanted.model_dump()
    price = [values.pop(name) for name in _PRICES]
    if not repository.add(connection, values):
        raise ModelExistsError(f"{wanted.id!r} is registered already; PATCH changes it.")
    repository.add_price(connection, wanted.id, *price)
    model = get(connection, wanted.id)
    said = model.model_dump(mode="json", exclude=_STAMPS)
    record(connection, actor, "model.created", _resource(model.id), None, said, actor.request_id)
    return model


def change(
    connection: sa.Connection, model_id: str, wanted: ModelUpdate, if_match: str | None,
    actor: Actor,
) -> Model:  # fmt: skip
    """Change what ``wanted`` names; a changed price is added to the history.

    Raises
    ------
    ModelNotFoundError
        If there is no such model.
    PreconditionFailedError
        If somebody changed it since the caller read it.
    """
    revision = repository.lock_revision(connection, model_id)
    if revision is None:
        raise _not_found(model_id)
    require_match(if_match, revision)
    values = wanted.model_dump(exclude_unset=True)
    nulls = [name for name, value in values.items() if value is None and name not in _NULLABLE]
    if nulls:
        errors = [FieldError(f"#/{name}", "must not be null") for name in nulls]
        raise InvalidInputError("These members cannot be removed.", errors=errors)
    before = get(connection, model_id)
    price = {name: values.pop(name) for name in _PRICES if name in values}
    if price:
        now = {name: getattr(before, name) for name in _PRICES} | price
        repository.add_price(connection, model_id, now[_PRICES[0]], now[_PRICES[1]])
    repository.update(connection, model_id, values)
    model = get(connection, model_id)
    was, now_is = (m.model_dump(mode="json", exclude=_STAMPS) for m in (before, model))
    changed = sorted(name for name in was if was[name] != now_is[name])
    record(
        connection, actor, "model.updated", _resource(model_id), {n: was[n] for n in changed},
        {n: now_is[n] for n in changed}, actor.request_id,
    )  # fmt: skip
    return model


def get(connection: sa.Connection, model_id: str) -> Model:
    """Return one model with the price in force.

    Raises
    ------
    ModelNotFoundError
        If there is no such model.
    """
    row = repository.find(connection, model_id)
    if row is None:
        raise _not_found(model_id)
    return _model(row)


def list_page(
    connection: sa.Connection, after: str | None, limit: int
) -> tuple[list[Model], str | None]:
    """Return a page of models by id and the position after it."""
    rows = repository.list_models(connection, after or "", limit + 1)
    more = rows[limit - 1].id if len(rows) > limit else None
    return [_model(row) for row in rows[:limit]], more


def _resource(model_id: str) -> str:
    """A model's id is whatever operators call it, so the audit log says what it is."""
    return f"model:{model_id}"


def _not_found(model_id: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"There is no model {model_id!r}; GET /api/models lists them.")


def _model(row: AnyRow) -> Model:
    return Model.model_validate(row, from_attributes=True)
