"""The writes of a served request as functions: one parameter each, plans that stay in the session.

Revision: 0005, follows: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Columns are named, so that one that comes later gets its default from callers who do not know it.
_RECORD_DECISION = """
CREATE FUNCTION record_decision(
    p_decision jsonb, p_event jsonb, p_outcome_due_in_s double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO decisions (
        id, created_at, policy_version_id, policy_name, policy_version, track, level,
        level_confidence, level_source, task_type, requested_model, model, propensity, strategy,
        explored, quality_value_usd, latency_cost_usd_per_s, tokens_in, features_version, features,
        candidates, fallbacks, request, why, margin, seed, learner_version, model_snapshot_id,
        exploration_spent_usd, regret_usd, prompt_hash, session_hash, text, caller, labels
    )
    SELECT
        id, created_at, policy_version_id, policy_name, policy_version, track, level,
        level_confidence, level_source, task_type, requested_model, model, propensity, strategy,
        explored, quality_value_usd, latency_cost_usd_per_s, tokens_in, features_version, features,
        candidates, fallbacks, request, why, margin, seed, learner_version, model_snapshot_id,
        exploration_spent_usd, regret_usd, prompt_hash, session_hash, text, caller, labels
    FROM jsonb_populate_record(NULL::decisions, p_decision);
    INSERT INTO outbox (event_id, source, detail_type, version, occurred_at, data)
    SELECT event_id, source, detail_type, version, occurred_at, data
    FROM jsonb_populate_record(NULL::outbox, p_event);
    IF p_outcome_due_in_s IS NOT NULL THEN
        INSERT INTO in_flight (decision_id, outcome_due_at)
        VALUES (
            (p_decision ->> 'id')::uuid,
            clock_timestamp() + make_interval(secs => p_outcome_due_in_s)
        );
    END IF;
END $$
"""

# Buckets are locked last: every request waits for the row of the global one, so that it must not be
# held while the decision is written. Who is over a limit already is refused before, which writes
# nothing; who finds it used up meanwhile is undone by the error, and asks admit_request alone.
# The commit does not wait for the disk: the outcome's, before which no answer leaves, does.
_ADMIT_AND_RECORD_DECISION = """
CREATE FUNCTION admit_and_record_decision(
    p_ids text[], p_increments_ns bigint[], p_windows_ns bigint[],
    p_decision jsonb, p_event jsonb, p_outcome_due_in_s double precision,
    OUT backlogs_ns bigint[], OUT admitted boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now_ns bigint := (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint;
    v_tat_ns bigint;
BEGIN
    admitted := true;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        SELECT tat_ns INTO v_tat_ns FROM rate_limits WHERE id = p_ids[i];
        backlogs_ns[i] := greatest(coalesce(v_tat_ns, 0) - v_now_ns, 0);
        admitted := admitted AND backlogs_ns[i] + p_increments_ns[i] <= p_windows_ns[i];
    END LOOP;
    IF NOT admitted THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM record_decision(p_decision, p_event, p_outcome_due_in_s);
    SELECT admission.backlogs_ns, admission.admitted INTO backlogs_ns, admitted
    FROM admit_request(p_ids, p_increments_ns, p_windows_ns, NULL) AS admission;
    IF NOT admitted THEN
        RAISE EXCEPTION 'a limit was used up meanwhile'
        USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$
"""

# The flight is proof that the decision is there: both were written by one transaction. Without it
# another writer came first, or the database has lost the decision in a crash; then no outcome may
# be acknowledged. Class 58 is PostgreSQL's for a system that failed.
_RECORD_OUTCOME = """
CREATE FUNCTION record_outcome(p_outcome jsonb, p_event jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_decision_id uuid := (p_outcome ->> 'decision_id')::uuid;
BEGIN
    DELETE FROM in_flight WHERE decision_id = v_decision_id;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM decisions WHERE id = v_decision_id) THEN
        RAISE EXCEPTION 'the decision of this outcome is gone' USING ERRCODE = 'system_error';
    END IF;
    INSERT INTO outcomes (
        decision_id, created_at, status, model, error_class, latency_ms, tokens_in, tokens_out,
        cost_usd, attempts, text
    )
    SELECT
        decision_id, created_at, status, model, error_class, latency_ms, tokens_in, tokens_out,
        cost_usd, attempts, text
    FROM jsonb_populate_record(NULL::outcomes, p_outcome)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO outbox (event_id, source, detail_type, version, occurred_at, data)
    SELECT event_id, source, detail_type, version, occurred_at, data
    FROM jsonb_populate_record(NULL::outbox, p_event);
    RETURN true;
END $$
"""


def upgrade() -> None:
    """Expand."""
    op.execute(_RECORD_DECISION)
    op.execute(_ADMIT_AND_RECORD_DECISION)
    op.execute(_RECORD_OUTCOME)


def downgrade() -> None:
    """Undo."""
    op.execute("DROP FUNCTION record_outcome")
    op.execute("DROP FUNCTION admit_and_record_decision")
    op.execute("DROP FUNCTION record_decision")
