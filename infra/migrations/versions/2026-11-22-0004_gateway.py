"""Spend, reservations and breakers of the gateway.

Revision: 0004, follows: 0003
"""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand."""


def downgrade() -> None:
    """Undo."""
