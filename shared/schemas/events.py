"""The event log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shared.schemas.common import Response

EventType = Literal["neural.route.completed", "outcome.recorded", "feedback.recorded"]


class Event(Response):
    """One fact. Sequences are dense: a reader that sees n and n+2 has missed one."""

    event_id: str = Field(examples=["evt_019ab3c4d5e67f8091a2b3c4d5e6f708"])
    sequence: int = Field(ge=1)
    type: EventType = Field(examples=["feedback.recorded"])
    version: int = Field(ge=1)
    occurred_at: datetime
    data: dict[str, Any]


class EventPage(Response):
    items: list[Event]
    next_cursor: str | None
    last_sequence: int = Field(ge=0, description="Newest sequence given out.")
