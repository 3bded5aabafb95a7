"""Every SQL statement of the policies domain."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.db.rows import AnyRow
from shared.db.tables import models, policies, policy_versions
from shared.kit.ids import uuid7


def _with_active_document() -> sa.Select[Any]:
    return sa.select(policies, policy_versions.c.document).join(
        policy_versions,
        (policy_versions.c.policy_id == policies.c.id)
        & (policy_versions.c.version == policies.c.active_version),
    )


def list_policies(connection: sa.Connection, before: UUID | None, limit: int) -> list[AnyRow]:
    """Return policies with the document in force, newest first."""
    query = _with_active_document().order_by(policies.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(policies.c.id < before)
    return list(connection.execute(query))


def find(connection: sa.Connection, policy_id: UUID) -> AnyRow | None:
    return connection.execute(
        _with_active_document().where(policies.c.id == policy_id)
    ).one_or_none()


def has_default(connection: sa.Connection) -> bool:
    return connection.scalar(sa.select(policies.c.id).where(policies.c.is_default)) is not None


def unknown_models(connection: sa.Connection, named: Collection[str]) -> list[str]:
    """Return those of ``named`` that are not registered."""
    known = set(connection.scalars(sa.select(models.c.id).where(models.c.id.in_(named))))
    return sorted(set(named) - known)


def add(
    connection: sa.Connection, *, name: str, description: str, document: dict[str, Any],
    is_default: bool, created_by: str,
) -> UUID | None:  # fmt: skip
    """Add a policy with its first version in force; None if the name is taken.

    Of several at once that want to be the default, the first to commit is.
    """
    policy_id = uuid7()
    done = connection.execute(
        insert(policies)
        .values(
            id=policy_id, name=name, description=description, is_default=is_default,
            active_version=1,
        )
        # Any conflict: the name is taken, or another default came first.
        .on_conflict_do_nothing()
    )  # fmt: skip
    if done.rowcount == 0:
        if not is_default:
            return None
        return add(
            connection, name=name, description=description, document=document, is_default=False,
            created_by=created_by,
        )  # fmt: skip
    connection.execute(
        sa.insert(policy_versions).values(
            id=uuid7(), policy_id=policy_id, version=1, document=document, created_by=created_by
        )
    )
    return policy_id
