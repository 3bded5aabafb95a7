"""Where the relay puts events: EventBridge on AWS, the local cloud's bus on a laptop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.config import Settings
from shared.errors import UnavailableError

MAX_ENTRIES = 10


class BusUnavailableError(UnavailableError):
    """The bus took nothing; the relay will try again."""

    code, title = "bus-unavailable", "Event bus unavailable"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as EventBridge takes it. ``detail`` is a JSON document."""

    source: str
    detail_type: str
    detail: str
    time: str

    def as_put_events(self, bus_name: str) -> dict[str, Any]:
        return {
            "Source": self.source,
            "DetailType": self.detail_type,
            "Detail": self.detail,
            "Time": self.time,
            "EventBusName": bus_name,
        }


class Bus(Protocol):
    """Takes entries and says which of them it refused."""

    def put(self, entries: Sequence[Entry]) -> list[bool]:
        """Publish at most ``MAX_ENTRIES`` entries; return, in order, whether each was taken.

        Raises
        ------
        BusUnavailableError
            If nothing is known to have been taken.
        """


class EventBridgeBus:
    """Amazon EventBridge."""

    def __init__(self, bus_name: str, client: Any = None) -> None:
        self._bus_name = bus_name
        self._client = client

    def put(self, entries: Sequence[Entry]) -> list[bool]:
        # Imported where used: 0.3 s that only the relay pays.
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        if self._client is None:
            self._client = boto3.client("events")
        batch = [entry.as_put_events(self._bus_name) for entry in entries]
        try:
            answer = self._client.put_events(Entries=batch)
        except (BotoCoreError, ClientError) as error:
            raise BusUnavailableError(str(error)) from error
        # A batch may be taken in part: only the refused entries are sent again.
        return ["ErrorCode" not in result for result in answer["Entries"]]


class LocalBus:
    """The local cloud's bus, over its loopback endpoint with the same request shape."""

    def __init__(self, url: str, token: str, bus_name: str) -> None:
        self._url = url
        self._token = token
        self._bus_name = bus_name

    def put(self, entries: Sequence[Entry]) -> list[bool]:
        body = {"Entries": [entry.as_put_events(self._bus_name) for entry in entries]}
        answer = post_to_local_cloud(self._url, self._token, "/bus", body)
        return ["ErrorCode" not in result for result in answer["Entries"]]


def post_to_local_cloud(url: str, token: str, path: str, body: object) -> Any:
    """POST to the local cloud's internal endpoint and return its JSON answer, if any.

    Raises
    ------
    BusUnavailableError
        If the local cloud is gone or refuses.
    """
    # Imported where used: on AWS nobody does.
    import urllib.error
    import urllib.request

    request = urllib.request.Request(  # noqa: S310  # the URL is the local cloud's own
        url + path,
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-davinci-local-token": token},
    )
    try:
        # The local cloud's address comes from our own settings.
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            content = response.read()
    except (urllib.error.URLError, OSError) as error:
        raise BusUnavailableError(f"the local cloud did not take {path}: {error}") from error
    return json.loads(content) if content else None


def bus_for(settings: Settings) -> Bus:
    """Return the bus that the settings name."""
    if settings.bus == "eventbridge":
        return EventBridgeBus(settings.event_bus_name)
    return LocalBus(
        settings.local_cloud_url,
        settings.local_cloud_token.get_secret_value(),
        settings.event_bus_name,
    )
