"""The audit log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from shared.schemas.common import Response


class AuditActor(Response):
    id: str = Field(examples=["usr_019ab3c4d5e67f8091a2b3c4d5e6f708"])
    kind: str = Field(description="`user`, `api_key`, `anonymous` or `system`.", examples=["user"])
    name: str = Field(examples=["admin@davinci.local"])


class AuditEntry(Response):
    seq: int = Field(ge=1, le=2**53, description="Dense: no number is left out.", examples=[42])
    at: datetime
    actor: AuditActor
    action: str = Field(examples=["user.updated"])
    resource: str = Field(examples=["usr_019ab3c4d5e67f8091a2b3c4d5e6f708"])
    before: dict[str, Any] | None = Field(description="The members that changed, as they were.")
    after: dict[str, Any] | None
    request_id: str | None
    prev_hash: str
    hash: str = Field(description="SHA-256 of the entry and the hash before, in hexadecimal.")


class AuditPage(Response):
    items: list[AuditEntry]
    next_cursor: str | None


class AuditVerification(Response):
    ok: bool = Field(examples=[True])
    entries: int = Field(description="Entries that fit, from the first on.", examples=[1_024])
    head_seq: int = Field(description="Number of the newest entry by the head.", examples=[1_024])
    head_hash: str = Field(description="Note it elsewhere, and later send it as the anchor.")
    first_broken_seq: int | None = Field(examples=[None])
    reason: str | None = Field(examples=[None])
    anchor_found: bool | None = Field(description="None without an anchor.", examples=[None])
