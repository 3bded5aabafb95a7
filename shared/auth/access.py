"""Who may do what: one table, route by role and scope, default deny.

A person needs at least ``role``; an API key needs ``scope``. A route without an entry does not
start (``create_app``), and OpenAPI's security is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from shared.schemas.common import Role, Scope

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Access:
    """The least role of a person and the scope of a key; None admits nobody of that kind."""

    role: Role | None
    scope: Scope | None
    public: bool = False
    # Any key will do, whatever its scopes.
    any_key: bool = False
    # The scrape route: open on loopback or with its own token, see system.
    scrape: bool = False
    # Whether requests pass when rate limits cannot be checked: only what merely reads.
    fail_open: bool = False
    # Whether credentials are looked up anew: what a revoked key or an ended session could still
    # make within the cache's seconds would outlive it.
    fresh: bool = False
    # A limit of the route's own: per caller, or per client address where the route is public.
    per_minute: int | None = None


PUBLIC = Access(None, None, public=True)
VIEW = Access("viewer", "read", fail_open=True)
OPERATE = Access("operator", "manage")
ADMIN = Access("admin", None)
SELF = Access("viewer", None)

ACCESS: Mapping[str, Access] = {
    "system_root": PUBLIC,
    "system_health": PUBLIC,
    "system_api_health": PUBLIC,
    "system_openapi": PUBLIC,
    "system_docs": PUBLIC,
    "system_metrics": Access(None, None, scrape=True),
    "system_status": VIEW,
    "system_fallback": PUBLIC,
    "auth_login": replace(PUBLIC, per_minute=30),
    "auth_refresh": replace(PUBLIC, per_minute=60),
    "auth_jwks": PUBLIC,
    "auth_verify": Access("viewer", None, any_key=True, fail_open=True),
    "auth_logout": SELF,
    "auth_create_key": replace(OPERATE, fresh=True),
    "auth_list_keys": replace(OPERATE, fail_open=True),
    "auth_revoke_key": OPERATE,
    "auth_rotate_key": replace(OPERATE, fresh=True),
    "auth_list_users": replace(ADMIN, fail_open=True),
    "auth_create_user": replace(ADMIN, fresh=True),
    "auth_update_user": replace(ADMIN, fresh=True),
    "auth_delete_user": replace(ADMIN, fresh=True),
    "auth_change_password": replace(SELF, fresh=True, per_minute=10),
    "auth_list_audit": replace(ADMIN, fail_open=True),
    "auth_verify_audit": replace(ADMIN, per_minute=12),
    "neural_status": VIEW,
    "neural_models": VIEW,
    "neural_levels": VIEW,
    "neural_allocation": VIEW,
    "neural_route": Access("operator", "route"),
    "neural_route_batch": Access("operator", "route"),
    "neural_simulate": OPERATE,
    "neural_history": VIEW,
    "neural_get_decision": VIEW,
    "gateway_chat_completions": Access("operator", "chat"),
    "gateway_embeddings": Access("operator", "chat"),
    "gateway_list_models": Access("viewer", "chat", fail_open=True),
    "gateway_get_model": Access("viewer", "chat", fail_open=True),
    "learning_record_feedback": Access("operator", "feedback"),
    "learning_record_feedback_batch": Access("operator", "feedback"),
    "learning_replay": VIEW,
    "learning_rebuild": replace(OPERATE, per_minute=12),
    "learning_metrics": VIEW,
    "learning_evaluate": replace(OPERATE, per_minute=60),
    "learning_convergence": VIEW,
    "models_list": VIEW,
    "models_create": OPERATE,
    "models_get": VIEW,
    "models_update": OPERATE,
    "policies_list": VIEW,
    "policies_create": OPERATE,
    "policies_get": VIEW,
    "events_list": VIEW,
    "events_stream": VIEW,
}


def admits_role(access: Access, role: Role) -> bool:
    """Return whether a person of ``role`` may use the route."""
    return access.role is not None and ROLES.index(role) >= ROLES.index(access.role)


def admits_scopes(access: Access, scopes: frozenset[str]) -> bool:
    """Return whether a key with ``scopes`` may use the route."""
    return access.any_key or (access.scope is not None and access.scope in scopes)
