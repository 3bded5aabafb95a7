"""The internal listener: what functions would reach with boto3 on AWS.

``POST /bus`` is EventBridge's PutEvents, ``POST /invoke/<Function>`` Lambda's asynchronous Invoke.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from infra.local.bus import Bus, InvalidRequestError
from infra.local.consumers import async_queue
from infra.local.gateway import Receive, Scope, Send, read_body, send_response
from infra.local.http_events import HttpResponse
from infra.local.queues import Outgoing, QueueStore
from infra.local.system import Function

TOKEN_HEADER = b"x-davinci-local-token"


class InternalApi:
    """An ASGI application for functions only; the token keeps other local users out."""

    def __init__(
        self, token: str, bus: Bus, store: QueueStore, functions: Mapping[str, Function]
    ) -> None:
        self._token = token.encode()
        self._bus = bus
        self._store = store
        self._functions = functions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        given = dict(scope["headers"]).get(TOKEN_HEADER, b"")
        name, _, argument = scope["path"][1:].partition("/")
        if not hmac.compare_digest(given, self._token):
            response = _json(403, {"message": "The token is missing or wrong."})
        elif scope["method"] != "POST":
            response = _json(405, {"message": "POST only."})
        elif scope["path"] == "/bus":
            response = await self._put_events(body)
        elif name == "invoke" and argument in self._functions:
            response = await self._invoke(self._functions[argument], body)
        else:
            response = _json(404, {"message": f"Nothing answers {scope['path']}."})
        await send_response(response, send)

    async def _put_events(self, body: bytes) -> HttpResponse:
        try:
            return _json(200, await self._bus.put_events(json.loads(body)["Entries"]))
        except (InvalidRequestError, json.JSONDecodeError, KeyError, TypeError) as error:
            return _json(400, {"message": f"ValidationException: {error}"})

    async def _invoke(self, function: Function, body: bytes) -> HttpResponse:
        try:
            event = json.dumps(json.loads(body or b"{}"))
        except json.JSONDecodeError:
            return _json(400, {"message": "The event is not JSON."})
        await self._store.send([Outgoing(queue=async_queue(function).name, body=event)])
        return HttpResponse(202)


def _json(status: int, value: Any) -> HttpResponse:
    body = json.dumps(value).encode()
    return HttpResponse(status, body, [(b"content-type", b"application/json")])
