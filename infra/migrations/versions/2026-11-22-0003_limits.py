"""Rate limits and idempotency keys.

Revision: 0003, follows: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Each statement of a function that may write sees what was committed before it, so a lock that had
# to be waited for hands over the newest row. The clock is read when all rows are locked.
_ADMIT_REQUEST = """
CREATE FUNCTION admit_request(
    p_ids text[], p_increments_ns bigint[], p_windows_ns bigint[], p_now_ns bigint,
    OUT backlogs_ns bigint[], OUT admitted boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now_ns bigint;
    v_tat_ns bigint;
    v_tats_ns bigint[];
BEGIN
    FOR i IN 1 .. cardinality(p_ids) LOOP
        LOOP
            SELECT tat_ns INTO v_tat_ns FROM rate_limits WHERE id = p_ids[i] FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO rate_limits (id, tat_ns) VALUES (p_ids[i], 0) ON CONFLICT DO NOTHING;
        END LOOP;
        v_tats_ns[i] := v_tat_ns;
    END LOOP;
    v_now_ns := coalesce(
        p_now_ns, (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint
    );
    admitted := true;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        backlogs_ns[i] := greatest(v_tats_ns[i] - v_now_ns, 0);
        admitted := admitted AND backlogs_ns[i] + p_increments_ns[i] <= p_windows_ns[i];
    END LOOP;
    IF admitted THEN
        FOR i IN 1 .. cardinality(p_ids) LOOP
            UPDATE rate_limits SET tat_ns = v_now_ns + backlogs_ns[i] + p_increments_ns[i]
            WHERE id = p_ids[i];
        END LOOP;
    END IF;
END $$
"""


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "rate_limits",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tat_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate_limits")),
        prefixes=["UNLOGGED"],
        postgresql_with={"fillfactor": 50},
    )
    op.execute(_ADMIT_REQUEST)
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status IS NULL) = (answer IS NULL)", name=op.f("ck_idempotency_keys_answer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("idempotency_keys")
    op.execute("DROP FUNCTION admit_request")
    op.drop_table("rate_limits")
