"""Every SQL statement of the neural domain; decisions themselves: ``shared.decisions``."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import policies, policy_versions, rollups


def traffic_since(connection: sa.Connection, since: datetime, grain: str) -> list[AnyRow]:
    """Return decisions and explorations per level and model since ``since``."""
    return list(
        connection.execute(
            sa.select(
                rollups.c.level,
                rollups.c.model,
                sa.cast(sa.func.sum(rollups.c.decisions), sa.BigInteger).label("decisions"),
                sa.cast(sa.func.sum(rollups.c.explored), sa.BigInteger).label("explored"),
            )
            .where(rollups.c.grain == grain, rollups.c.bucket_at >= since)
            .group_by(rollups.c.level, rollups.c.model)
        )
    )


def find_policy_version(connection: sa.Connection, name: str, version: int) -> AnyRow | None:
    """Return id and document of one version of the named policy."""
    return connection.execute(
        sa.select(policy_versions.c.id, policy_versions.c.document)
        .join(policies, policies.c.id == policy_versions.c.policy_id)
        .where(policies.c.name == name, policy_versions.c.version == version)
    ).one_or_none()
