"""Who may do what: one table, route by role and scope, default deny.

A person needs at least ``role``; an API key needs ``scope``. A route without an entry does not
start (``create_app``), and OpenAPI's security is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


PUBLIC = Access(None, None, public=True)
VIEW = Access("viewer", "read")
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
    "auth_login": PUBLIC,
    "auth_refresh": PUBLIC,
    "auth_jwks": PUBLIC,
    "auth_verify": Access("viewer", None, any_key=True),
    "auth_logout": SELF,
    "auth_create_key": OPERATE,
    "auth_list_keys": OPERATE,
    "auth_revoke_key": OPERATE,
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
    "gateway_list_models": Access("viewer", "chat"),
    "learning_record_feedback": Access("operator", "feedback"),
    "learning_record_feedback_batch": Access("operator", "feedback"),
    "learning_replay": VIEW,
    "learning_rebuild": OPERATE,
    "learning_metrics": VIEW,
    "learning_evaluate": OPERATE,
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
