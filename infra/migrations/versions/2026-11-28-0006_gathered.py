"""The writes of several served requests by one statement.

The functions of 0005 stay for the release before, which calls them while this one is rolled out.

Revision: 0006, follows: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Columns are named, so that one that comes later gets its default from callers who do not know it.
_RECORD_DECISIONS = """
CREATE FUNCTION record_decisions(p_entries jsonb) RETURNS void LANGUAGE plpgsql AS $$
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
    FROM jsonb_array_elements(p_entries) AS entry,
        jsonb_populate_record(NULL::decisions, entry -> 'decision');
    INSERT INTO outbox (event_id, source, detail_type, version, occurred_at, data)
    SELECT event_id, source, detail_type, version, occurred_at, data
    FROM jsonb_array_elements(p_entries) AS entry,
        jsonb_populate_record(NULL::outbox, entry -> 'event');
    INSERT INTO in_flight (decision_id, outcome_due_at)
    SELECT
        (entry -> 'decision' ->> 'id')::uuid,
        clock_timestamp() + make_interval(secs => (entry ->> 'outcome_due_in_s')::double precision)
    FROM jsonb_array_elements(p_entries) AS entry
    WHERE entry ->> 'outcome_due_in_s' IS NOT NULL;
END $$
"""

# Buckets are locked last: every request waits for the row of the global one, so that it must not be
# held while decisions are written. Who is over a limit already is refused before, which writes
# nothing; who finds it used up meanwhile is undone by the error, and asks admit_request alone.
# The commit does not wait for the disk: the outcome's, before which no answer leaves, does.
_ADMIT_AND_RECORD_DECISIONS = """
CREATE FUNCTION admit_and_record_decisions(
    p_ids text[], p_increments_ns bigint[], p_windows_ns bigint[], p_entries jsonb,
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
    PERFORM record_decisions(p_entries);
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
_RECORD_OUTCOMES = """
CREATE FUNCTION record_outcomes(p_entries jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    v_given uuid[] := ARRAY(
        SELECT (entry -> 'outcome' ->> 'decision_id')::uuid
        FROM jsonb_array_elements(p_entries) AS entry
    );
    v_landed uuid[];
    v_written uuid[];
    v_decision_id uuid;
BEGIN
    WITH landed AS (
        DELETE FROM in_flight WHERE decision_id = ANY (v_given) RETURNING decision_id
    )
    SELECT coalesce(array_agg(decision_id), '{}') INTO v_landed FROM landed;
    IF cardinality(v_landed) < cardinality(v_given) THEN
        FOREACH v_decision_id IN ARRAY v_given LOOP
            IF v_decision_id <> ALL (v_landed)
                AND NOT EXISTS (SELECT FROM decisions WHERE id = v_decision_id)
            THEN
                RAISE EXCEPTION 'the decision of this outcome is gone'
                USING ERRCODE = 'system_error';
            END IF;
        END LOOP;
    END IF;
    WITH written AS (
        INSERT INTO outcomes (
            decision_id, created_at, status, model, error_class, latency_ms, tokens_in, tokens_out,
            cost_usd, attempts, text
        )
        SELECT
            decision_id, created_at, status, model, error_class, latency_ms, tokens_in, tokens_out,
            cost_usd, attempts, text
        FROM jsonb_array_elements(p_entries) AS entry,
            jsonb_populate_record(NULL::outcomes, entry -> 'outcome')
        ON CONFLICT DO NOTHING
        RETURNING decision_id
    )
    SELECT coalesce(array_agg(decision_id), '{}') INTO v_written FROM written;
    INSERT INTO outbox (event_id, source, detail_type, version, occurred_at, data)
    SELECT event_id, source, detail_type, version, occurred_at, data
    FROM jsonb_array_elements(p_entries) AS entry,
        jsonb_populate_record(NULL::outbox, entry -> 'event')
    WHERE (entry -> 'outcome' ->> 'decision_id')::uuid = ANY (v_written);
    RETURN v_written;
END $$
"""


def upgrade() -> None:
    """Expand."""
    op.execute(_RECORD_DECISIONS)
    op.execute(_ADMIT_AND_RECORD_DECISIONS)
    op.execute(_RECORD_OUTCOMES)


def downgrade() -> None:
    """Undo."""
    op.execute("DROP FUNCTION record_outcomes")
    op.execute("DROP FUNCTION admit_and_record_decisions")
    op.execute("DROP FUNCTION record_decisions")
