"""SQS in PostgreSQL: at-least-once queues with visibility timeouts and redrive.

A message is a row. Receiving it moves ``visible_at`` into the future, deleting it acknowledges
it, and a message received too often moves to the dead-letter queue instead. Each operation is
one statement, so a crash at any point leaves every message either due or becoming due.
Left out: retention, FIFO queues and long-polling across processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from infra.local.clock import Clock
from infra.local.database import Database
from infra.local.intrinsics import REGION
from infra.local.system import Queue

_SEND = """
INSERT INTO localcloud.messages (queue, message_id, body, attributes, sent_at, visible_at)
SELECT queue, message_id, body, attributes, CAST(:now AS timestamptz),
  CAST(:now AS timestamptz) + delay_s * interval '1 second'
FROM json_to_recordset(CAST(:rows AS json))
  AS row (queue text, message_id text, body text, attributes jsonb, delay_s double precision)
"""
_RECEIVE = """
WITH due AS (
  SELECT id, visible_at AS due_at, receive_count >= CAST(:max_receives AS integer) AS is_dead
  FROM localcloud.messages
  WHERE queue = :queue AND visible_at <= :now
  ORDER BY visible_at, id LIMIT :count
  FOR UPDATE SKIP LOCKED
)
UPDATE localcloud.messages AS message SET
  queue = CASE WHEN is_dead THEN :dead_letter ELSE queue END,
  visible_at = CAST(CASE WHEN is_dead THEN :now ELSE :invisible_until END AS timestamptz),
  receive_count = CASE WHEN is_dead THEN 0 ELSE receive_count + 1 END,
  first_received_at = CASE WHEN is_dead THEN NULL ELSE coalesce(first_received_at, :now) END
FROM due WHERE message.id = due.id
RETURNING due_at, message.id, message.queue, message_id, body, attributes, sent_at,
  first_received_at, receive_count
"""
_PEEK = """
SELECT count(*) FILTER (WHERE visible_at <= :now) AS n_due,
  min(visible_at) FILTER (WHERE visible_at > :now) AS next_due_at
FROM (SELECT visible_at FROM localcloud.messages
      WHERE queue = :queue ORDER BY visible_at LIMIT :count) AS next
"""
# A receipt is the row and how often it was received: an old receipt deletes nothing.
_DELETE = """
DELETE FROM localcloud.messages USING json_to_recordset(CAST(:receipts AS json))
  AS receipt (id bigint, receive_count integer)
WHERE messages.id = receipt.id AND messages.receive_count = receipt.receive_count
"""
_POSTPONE = """
UPDATE localcloud.messages SET visible_at = :until
WHERE id = :id AND receive_count = :receive_count
"""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message on its way into a queue."""

    queue: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Message:
    """A received message."""

    id: int
    message_id: str
    body: str
    attributes: Mapping[str, str]
    sent_at: datetime
    first_received_at: datetime
    receive_count: int

    def record(self, queue_arn: str) -> dict[str, Any]:
        """Return the message as Lambda shows it to a function."""
        return {
            "messageId": self.message_id,
            "receiptHandle": f"{self.id}.{self.receive_count}",
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receive_count),
                "SentTimestamp": _milliseconds(self.sent_at),
                "SenderId": "local",
                "ApproximateFirstReceiveTimestamp": _milliseconds(self.first_received_at),
            },
            "messageAttributes": {
                name: {"stringValue": value, "dataType": "String"}
                for name, value in self.attributes.items()
            },
            "md5OfBody": hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": REGION,
        }


@dataclass(frozen=True)
class Backlog:
    n_due: int
    """Messages that can be received now, counted up to the limit asked for."""
    next_due_at: datetime | None


class QueueStore:
    """Every queue of the local cloud. This process alone sends, so it knows of each arrival."""

    def __init__(self, database: Database, clock: Clock, queues: Mapping[str, Queue]) -> None:
        self._database = database
        self._clock = clock
        self._queues = queues
        self.arrivals: Counter[str] = Counter()
        self._arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def arrived(self, queue: str) -> asyncio.Event:
        """Return the event that is set whenever something enters ``queue``."""
        return self._arrived[queue]

    async def send(self, messages: Iterable[Outgoing]) -> None:
        """Store ``messages``, all or none; they are durable when this returns."""
        rows = [self._row(message) for message in messages]
        if rows:
            await self._database.run(_SEND, now=self._clock.now(), rows=json.dumps(rows))
        for row in rows:
            self._announce(row["queue"])

    async def receive(self, queue: Queue, count: int) -> list[Message]:
        """Take up to ``count`` due messages, oldest first, for the visibility timeout."""
        now = self._clock.now()
        rows = await self._database.run(
            _RECEIVE, queue=queue.name, count=count, now=now,
            invisible_until=now + timedelta(seconds=queue.visibility_s),
            max_receives=queue.max_receives, dead_letter=queue.dead_letter,
        )  # fmt: skip
        taken = []
        for _, identity, owner, *values in sorted(tuple(row) for row in rows):
            if owner == queue.name:
                names = ("message_id", "body", "attributes", "sent_at", "first_received_at",
                         "receive_count")  # fmt: skip
                taken.append(Message(id=identity, **dict(zip(names, values, strict=True))))
            else:
                self._announce(owner)
        return taken

    async def peek(self, queue: Queue, count: int) -> Backlog:
        now = self._clock.now()
        rows = await self._database.run(_PEEK, queue=queue.name, count=count, now=now)
        return Backlog(n_due=rows[0].n_due, next_due_at=rows[0].next_due_at)

    async def delete(self, messages: Sequence[Message]) -> None:
        """Acknowledge ``messages``; those received again meanwhile stay."""
        receipts = [{"id": m.id, "receive_count": m.receive_count} for m in messages]
        if receipts:
            await self._database.run(_DELETE, receipts=json.dumps(receipts))

    async def postpone(self, message: Message, seconds: float) -> None:
        """Make a received message due again after ``seconds``."""
        until = self._clock.now() + timedelta(seconds=seconds)
        await self._database.run(
            _POSTPONE, id=message.id, receive_count=message.receive_count, until=until
        )

    def _row(self, message: Outgoing) -> dict[str, Any]:
        queue = self._queues.get(message.queue)
        return {
            "queue": message.queue,
            "message_id": str(uuid.uuid4()),
            "body": message.body,
            "attributes": dict(message.attributes),
            "delay_s": message.delay_s + (queue.delay_s if queue else 0.0),
        }

    def _announce(self, queue: str) -> None:
        self.arrivals[queue] += 1
        self._arrived[queue].set()


def _milliseconds(instant: datetime) -> str:
    return str(int(instant.timestamp() * 1000))
