"""Who may come in: users, refresh token families, API keys. Secrets are stored as hashes only."""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.tables.base import document, instant, metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    instant("created_at", default_now=True),
    sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
    sa.CheckConstraint("email = lower(email)", name="email_lower"),
)

# One row per issued token. A family lives from login to logout; spent rows stay, so that reuse
# of a spent token is noticed and ends the family.
refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("family_id", sa.Uuid, nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    instant("expires_at"),
    instant("spent_at", nullable=True),
    instant("revoked_at", nullable=True),
    instant("created_at", default_now=True),
    sa.Index("ix_refresh_tokens_family_id", "family_id"),
    sa.Index("ix_refresh_tokens_user_id", "user_id"),
    sa.Index(
        "ix_refresh_tokens_revoked_at",
        "revoked_at",
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    ),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False, unique=True),
    document("scopes"),
    document("labels", default="{}"),
    sa.Column("created_by", sa.Text, nullable=False),
    instant("created_at", default_now=True),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
    instant("last_used_at", nullable=True),
)
