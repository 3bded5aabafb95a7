"""EventBridge: validates events, matches rules, puts messages into the queues of their targets."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.local.clock import Clock
from infra.local.faults import FaultInjector
from infra.local.intrinsics import ACCOUNT_ID, REGION
from infra.local.patterns import compile_pattern
from infra.local.queues import Outgoing, QueueStore
from infra.local.system import Rule, System, Target

MAX_ENTRIES = 10
MAX_ENTRY_BYTES = 256 * 1024
_log = logging.getLogger(__name__)


class InvalidRequestError(ValueError):
    """The whole call is refused: AWS's ValidationException."""


class _InvalidEntryError(ValueError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Bus:
    """All event buses of the template, behind ``PutEvents``."""

    def __init__(
        self, system: System, queues: QueueStore, clock: Clock, faults: FaultInjector
    ) -> None:
        self._buses = system.buses
        self._queues = queues
        self._clock = clock
        self._faults = faults
        self._rules = [(rule, compile_pattern(rule.pattern)) for rule in system.rules]

    async def put_events(self, entries: Any) -> dict[str, Any]:
        """Deliver ``entries`` to the targets of every matching rule, durably.

        Raises
        ------
        InvalidRequestError
            If there are no entries, or more than ten.
        """
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
            raise InvalidRequestError(f"Entries must hold 1 to {MAX_ENTRIES} events")
        results: list[dict[str, str]] = []
        messages: list[Outgoing] = []
        for entry in entries:
            try:
                bus, event = self._read(entry)
            except _InvalidEntryError as error:
                results.append({"ErrorCode": error.code, "ErrorMessage": str(error)})
            else:
                results.append({"EventId": event["id"]})
                messages += self._route(bus, event)
        await self._queues.send(self._faults.disturb(messages))
        n_failed = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": n_failed, "Entries": results}

    def _read(self, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the bus and the envelope, or say what is wrong with the entry."""
        for name in ("Source", "DetailType", "Detail"):
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise _InvalidEntryError("InvalidArgument", f"{name} is a required argument.")
        size = sum(len(str(value).encode()) for value in entry.values())
        if size > MAX_ENTRY_BYTES:  # AWS refuses the whole call then
            message = f"The entry has {size} bytes, over {MAX_ENTRY_BYTES}."
            raise _InvalidEntryError("InvalidArgument", message)
        bus = str(entry.get("EventBusName") or "default").rpartition("/")[2]
        if bus not in self._buses:
            # AWS answers success and forgets the event; here somebody should notice.
            raise _InvalidEntryError("ResourceNotFoundException", f"Event bus {bus} is unknown.")
        if entry["Source"].startswith("aws."):
            message = "Sources that start with aws. are reserved."
            raise _InvalidEntryError("NotAuthorizedForSourceException", message)
        return bus, {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": ACCOUNT_ID,
            "time": self._time(entry.get("Time")),
            "region": REGION,
            "resources": entry.get("Resources") or [],
            "detail": _detail(entry["Detail"]),
        }

    def _time(self, given: Any) -> str:
        try:
            if given is None:
                instant = self._clock.now()
            elif isinstance(given, int | float):
                instant = datetime.fromtimestamp(given, UTC)
            else:
                instant = datetime.fromisoformat(given).astimezone(UTC)
        except (TypeError, ValueError, OverflowError) as error:
            raise _InvalidEntryError("InvalidArgument", f"Time is not valid: {error}") from error
        return instant.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _route(self, bus: str, event: Mapping[str, Any]) -> Iterator[Outgoing]:
        for rule, matches in self._rules:
            if rule.bus == bus and matches(event):
                for target in rule.targets:
                    yield from self._deliver(rule, target, event)

    def _deliver(self, rule: Rule, target: Target, event: Mapping[str, Any]) -> Iterable[Outgoing]:
        if target.permitted:
            return [Outgoing(queue=target.queue, body=json.dumps(event, ensure_ascii=False))]
        # Missing permission is not retried: the rule's dead-letter queue, or nothing.
        outcome = f"goes to {target.dead_letter}" if target.dead_letter else "is dropped"
        _log.error("%s may not send to %s; event %s %s (the queue needs a policy for it)",
                   rule.name, target.queue, event["id"], outcome)  # fmt: skip
        if target.dead_letter is None:
            return []
        reason = {
            "RULE_ARN": rule.arn,
            "TARGET_ARN": target.arn,
            "ERROR_CODE": "NO_PERMISSIONS",
            "ERROR_MESSAGE": "The queue's policy does not allow the rule to send messages.",
        }
        return [
            Outgoing(
                queue=target.dead_letter,
                body=json.dumps(event, ensure_ascii=False),
                attributes=reason,
            )
        ]


def _detail(text: str) -> dict[str, Any]:
    try:
        detail = json.loads(text)
    except ValueError as error:
        raise _InvalidEntryError("MalformedDetail", "Detail is malformed.") from error
    if not isinstance(detail, dict):
        raise _InvalidEntryError("MalformedDetail", "Detail is not a JSON object.")
    return detail
