"""Every SQL statement of the neural domain; decisions themselves: ``shared.decisions``."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from shared.db.rows import AnyRow
from shared.db.tables import rollups


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
