"""Users, API key limits and rotation, login throttling, the audit log.

Revision: 0002, follows: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")
_USER_KEY = "fk_refresh_tokens_user_id_users"


def upgrade() -> None:
    """Expand: whatever the code before wrote and read, it still can."""
    _users_and_sessions()
    _keys()
    _audit()


def _users_and_sessions() -> None:
    op.add_column("users", sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
    for name in ("updated_at", "password_changed_at"):
        op.add_column("users", sa.Column(name, _instant(), server_default=_NOW, nullable=False))
    op.add_column("users", sa.Column("last_login_at", _instant(), nullable=True))
    op.add_column("refresh_tokens", sa.Column("successor_salt", sa.LargeBinary(), nullable=True))
    op.alter_column("refresh_tokens", "user_id", nullable=True)
    op.drop_constraint(op.f(_USER_KEY), "refresh_tokens", type_="foreignkey")
    op.create_foreign_key(
        op.f(_USER_KEY), "refresh_tokens", "users", ["user_id"], ["id"], ondelete="SET NULL"
    )
    op.create_table(
        "login_throttle",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("blocked_until", _instant(), nullable=False),
        sa.Column("attempted_at", _instant(), nullable=False),
        sa.Column("attempt", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_throttle")),
    )
    op.create_index("ix_login_throttle_attempted_at", "login_throttle", ["attempted_at"])


def _keys() -> None:
    for column in (
        sa.Column("previous_secret_hash", sa.LargeBinary(), nullable=True),
        sa.Column("previous_valid_until", _instant(), nullable=True),
        sa.Column("rotated_at", _instant(), nullable=True),
        sa.Column("rpm", sa.Integer(), nullable=True),
        sa.Column("tpm", sa.BigInteger(), nullable=True),
        sa.Column("budget_usd", sa.Numeric(20, 9), nullable=True),
        sa.Column("budget_window", sa.Text(), nullable=True),
    ):
        op.add_column("api_keys", column)
    op.create_unique_constraint(
        op.f("uq_api_keys_previous_secret_hash"), "api_keys", ["previous_secret_hash"]
    )
    for name, condition in (
        ("limits", "rpm > 0 AND tpm > 0 AND budget_usd > 0"),
        ("budget", "(budget_usd IS NULL) = (budget_window IS NULL)"),
        ("budget_window", "budget_window IN ('day', 'month', 'total')"),
    ):
        op.create_check_constraint(op.f(f"ck_api_keys_{name}"), "api_keys", condition)
    op.create_index("ix_decisions_caller", "decisions", ["caller", "id"])


def _audit() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", _instant(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_actor", "audit_log", ["actor_id", "seq"])
    op.create_index(
        "ix_audit_log_action",
        "audit_log",
        ["action", "seq"],
        postgresql_ops={"action": "text_pattern_ops"},
    )
    op.create_index("ix_audit_log_resource", "audit_log", ["resource", "seq"])
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_table(
        "audit_head",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint('"only"', name=op.f("ck_audit_head_only")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_audit_head")),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()"
    )


def _instant() -> sa.TIMESTAMP:
    return sa.TIMESTAMP(timezone=True)


def downgrade() -> None:
    """Undo."""
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION refuse_audit_change()")
    op.drop_table("audit_head")
    op.drop_index("ix_decisions_caller", "decisions")
    for name in (
        "previous_secret_hash", "previous_valid_until", "rotated_at", "rpm", "tpm", "budget_usd",
        "budget_window",
    ):  # fmt: skip
        op.drop_column("api_keys", name)
    op.drop_table("login_throttle")
    # The code before knows no sessions of nobody.
    op.execute("DELETE FROM refresh_tokens WHERE user_id IS NULL")
    op.drop_constraint(op.f(_USER_KEY), "refresh_tokens", type_="foreignkey")
    op.create_foreign_key(
        op.f(_USER_KEY), "refresh_tokens", "users", ["user_id"], ["id"], ondelete="CASCADE"
    )
    op.alter_column("refresh_tokens", "user_id", nullable=False)
    op.drop_column("refresh_tokens", "successor_salt")
    for name in ("revision", "updated_at", "password_changed_at", "last_login_at"):
        op.drop_column("users", name)
