"""Named policies and their immutable versions."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from functions.policies import repository
from functions.policies.errors import PolicyExistsError, PolicyNotFoundError
from functions.policies.presets import DEFAULT, presets
from shared.audit import SYSTEM, Actor, record
from shared.db.rows import AnyRow
from shared.errors import FieldError, InvalidInputError
from shared.kit.ids import POLICY, MalformedIdError, parse, to_text
from shared.schemas.policies import Policy, PolicyCreate, PolicyDocument


def create(connection: sa.Connection, wanted: PolicyCreate, actor: Actor) -> Policy:
    """Create a policy; version 1 is in force under its name (``policy:<name>``) at once.

    The first policy of a deployment becomes the default.

    Raises
    ------
    PolicyExistsError
        If the name is taken.
    InvalidInputError
        If it names models that are not registered, with the place of each.
    """
    _refuse_unknown_models(connection, wanted.document)
    policy_id = repository.add(
        connection,
        name=wanted.name,
        description=wanted.description,
        document=wanted.document.model_dump(mode="json"),
        is_default=not repository.has_default(connection),
        created_by=actor.id,
    )
    if policy_id is None:
        raise PolicyExistsError(f"There is a policy {wanted.name!r} already.")
    policy = get(connection, to_text(POLICY, policy_id))
    _record_created(connection, policy, actor)
    return policy


def ensure_presets(connection: sa.Connection, extra_task_levels: dict[str, str]) -> None:
    """Create the presets that are missing; the default one only if there is no default."""
    added = [
        repository.add(
            connection,
            name=name,
            description=description,
            document=document.model_dump(mode="json"),
            is_default=name == DEFAULT and not repository.has_default(connection),
            created_by="preset",
        )
        for name, (description, document) in presets(extra_task_levels).items()
    ]
    # After every other lock, as the audit log asks for.
    for policy_id in filter(None, added):
        _record_created(connection, get(connection, to_text(POLICY, policy_id)), SYSTEM)


def get(connection: sa.Connection, policy_id: str) -> Policy:
    """Return a policy with the document in force.

    Raises
    ------
    PolicyNotFoundError
        If there is no such policy.
    """
    try:
        row = repository.find(connection, parse(POLICY, policy_id))
    except MalformedIdError:
        row = None
    if row is None:
        raise PolicyNotFoundError(f"There is no policy {policy_id}.")
    return _policy(row)


def list_page(
    connection: sa.Connection, before: str | None, limit: int
) -> tuple[list[Policy], str | None]:
    """Return a page of policies, newest first, and the position after it."""
    rows = repository.list_policies(connection, UUID(before) if before else None, limit + 1)
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return [_policy(row) for row in rows[:limit]], more


def _record_created(connection: sa.Connection, policy: Policy, actor: Actor) -> None:
    said = policy.model_dump(mode="json", exclude={"id", "created_at", "updated_at"})
    record(connection, actor, "policy.created", policy.id, None, said, actor.request_id)


def _refuse_unknown_models(connection: sa.Connection, document: PolicyDocument) -> None:
    places: dict[str, list[str]] = {}
    for level, wanted in document.levels.items():
        base = f"#/document/levels/{level}"
        if wanted.primary is not None:
            places.setdefault(wanted.primary, []).append(f"{base}/primary")
        for member in ("models", "fallbacks"):
            for index, model in enumerate(getattr(wanted, member) or ()):
                places.setdefault(model, []).append(f"{base}/{member}/{index}")
    unknown = repository.unknown_models(connection, places.keys()) if places else []
    if unknown:
        raise InvalidInputError(
            "The policy names models that are not registered; GET /api/models lists them.",
            errors=[
                FieldError(place, f"{model!r} is not registered")
                for model in unknown
                for place in places[model]
            ],
        )


def _policy(row: AnyRow) -> Policy:
    return Policy(
        id=to_text(POLICY, row.id),
        name=row.name,
        description=row.description,
        is_default=row.is_default,
        active_version=row.active_version,
        document=PolicyDocument.model_validate(row.document),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
