"""Rate limits and idempotency keys.

Revision: 0003, follows: 0002
"""

from __future__ import annotations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand."""


def downgrade() -> None:
    """Undo."""
