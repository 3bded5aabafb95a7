"""Every table of the system as SQLAlchemy Core, one module per family.

Decisions, outcomes and feedback are append-only and partitioned by day. All three partition on the
decision's UUIDv7, which begins with its instant: a lookup by id touches one partition, what belongs
to one decision lies in partitions of the same day, and retention drops whole days together.
"""

from shared.db.tables.access import api_keys, login_throttle, refresh_tokens, users
from shared.db.tables.audit import audit_head, audit_log
from shared.db.tables.base import metadata
from shared.db.tables.control import models, policies, policy_versions, prices
from shared.db.tables.events import event_sequence, inbox, outbox
from shared.db.tables.health import breakers
from shared.db.tables.limits import idempotency_keys, rate_limits
from shared.db.tables.log import PARTITIONED, decisions, feedback, model_snapshots, outcomes
from shared.db.tables.read import learner_states, projections, rollups
from shared.db.tables.spending import in_flight, reservations, spend

__all__ = [
    "PARTITIONED",
    "api_keys",
    "audit_head",
    "audit_log",
    "breakers",
    "decisions",
    "event_sequence",
    "feedback",
    "idempotency_keys",
    "in_flight",
    "inbox",
    "learner_states",
    "login_throttle",
    "metadata",
    "model_snapshots",
    "models",
    "outbox",
    "outcomes",
    "policies",
    "policy_versions",
    "prices",
    "projections",
    "rate_limits",
    "refresh_tokens",
    "reservations",
    "rollups",
    "spend",
    "users",
]
