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
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    instant("created_at", default_now=True),
    instant("updated_at", default_now=True),
    instant("password_changed_at", default_now=True),
    instant("last_login_at", nullable=True),
    sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
    sa.CheckConstraint("email = lower(email)", name="email_lower"),
)

# One row per issued token. A family lives from login to logout; spent rows stay, so that reuse
# of a spent token is noticed and ends the family. They outlive a deleted user, because access
# tokens of an ended family are refused by them.
refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("family_id", sa.Uuid, nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="SET NULL")),
    instant("expires_at"),
    instant("spent_at", nullable=True),
    # With the spent token, and only with it, gives the successor again (see auth.sessions).
    sa.Column("successor_salt", sa.LargeBinary),
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
    # The secret before the last rotation, in force until the overlap ends.
    sa.Column("previous_secret_hash", sa.LargeBinary, unique=True),
    instant("previous_valid_until", nullable=True),
    instant("rotated_at", nullable=True),
    document("scopes"),
    document("labels", default="{}"),
    # Limits of this key alone; null: none of its own.
    sa.Column("rpm", sa.Integer),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("budget_usd", sa.Numeric(20, 9, asdecimal=False)),
    sa.Column("budget_window", sa.Text),
    sa.Column("created_by", sa.Text, nullable=False),
    instant("created_at", default_now=True),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
    instant("last_used_at", nullable=True),
    sa.CheckConstraint("rpm > 0 AND tpm > 0 AND budget_usd > 0", name="limits"),
    sa.CheckConstraint("(budget_usd IS NULL) = (budget_window IS NULL)", name="budget"),
    sa.CheckConstraint("budget_window IN ('day', 'month', 'total')", name="budget_window"),
)

# Login attempts by account, or by device for a browser that logged in before. The subject is a
# keyed hash: what people type as e-mail is not readable here. See auth.throttle.
login_throttle = sa.Table(
    "login_throttle",
    metadata,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    instant("blocked_until"),
    instant("attempted_at"),
    sa.Column("attempt", sa.Uuid, nullable=False),
    sa.Index("ix_login_throttle_attempted_at", "attempted_at"),
)
