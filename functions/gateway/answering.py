"""How answers leave: OpenAI's errors, and streams that end in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from functions.gateway.errors import (
    InvalidApiKeyError,
    InvalidValueError,
    RejectedByProviderError,
)
from shared.errors import FieldError, InvalidInputError, UnauthenticatedError
from shared.web.direct import DirectRoute
from shared.web.problems import pointer_into, said_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream"


class OpenAIRoute(DirectRoute):
    """A route whose errors have the statuses and codes that OpenAI's clients act on."""

    async def guarded(self, work: Awaitable[Response]) -> Response:
        try:
            return await work
        except RequestValidationError as error:
            raise _as_invalid_value(error) from None
        except UnauthenticatedError as error:
            raise InvalidApiKeyError(error.detail, headers=error.headers) from None
        except RejectedByProviderError as error:
            if error.said is None:
                raise
            return _as_the_provider_said(error, error.said)
        except InvalidInputError as error:
            if type(error) is not InvalidInputError:
                raise
            raise InvalidValueError(error.detail, errors=error.errors) from None


class EventStream(StreamingResponse):
    """Server-sent events; ``on_end`` runs once however it ends, also when nobody reads a byte."""

    media_type = EVENT_STREAM

    def __init__(
        self, events: AsyncGenerator[bytes], headers: Mapping[str, str], on_end: Callable[[], None]
    ) -> None:
        # Proxies that buffer would keep the first byte back.
        super().__init__(events, headers={**headers, "x-accel-buffering": "no"})
        self._events = events
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            pass  # no fault of anybody's; the outcome says it
        finally:
            # Left to the collector, it would be closed whenever the loop next has the time.
            await self._events.aclose()
            self._on_end()


def _as_invalid_value(error: RequestValidationError) -> Exception:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return error  # that is a 400 already
    errors = [
        FieldError(
            pointer_into(error.body, fault["loc"][1:], is_missing=fault["type"] == "missing"),
            said_of(fault),
        )
        for fault in faults
    ]
    return InvalidValueError("The request does not fit OpenAI's schema.", errors=errors)


def _as_the_provider_said(error: RejectedByProviderError, said: Mapping[str, Any]) -> Response:
    """Return the provider's error, whose code and param clients know (context_length_exceeded)."""
    body = {
        "message": error.detail,
        "type": _text(said.get("type")) or "invalid_request_error",
        "param": _text(said.get("param")),
        "code": _text(said.get("code")) or error.code.replace("-", "_"),
    }
    return JSONResponse({"error": body}, error.status, error.headers)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
