"""Routes that are asked all the time: FastAPI's work of each request is done by hand.

FastAPI looks for the route twice and solves a tree of dependencies anew for every request, which
costs a quarter of one. Where a route takes a body, the request, its caller and an Idempotency-Key,
the same is a table and four lines. A body that does not fit goes FastAPI's way, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from shared.web.callers import authorize
from shared.web.problems import answer_to
from shared.web.routing import Route, StrictRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class DirectRoute(Route):
    """A route whose functions with a body take ``(body, request, caller, idempotency_key)``.

    These charge the request's buckets themselves (``request.state.admission``).
    """

    @property
    def is_direct(self) -> bool:
        return bool(self.dependant.body_params)

    @property
    def body_model(self) -> type[BaseModel]:
        (parameter,) = self.dependant.body_params
        model: type[BaseModel] = parameter.field_info.annotation  # type: ignore[assignment]
        return model

    async def serve(self, request: Request, body: BaseModel) -> Response:
        """Answer a request whose body fits.

        Who fails before the buckets were charged is charged here: what is refused counts as well,
        and who is over a limit is told that first.
        """
        request.state.admits = True
        try:
            await authorize(request)
            response: Response = await self.endpoint(
                body=body, request=request, caller=request.state.caller,
                idempotency_key=request.headers.get("idempotency-key"),
            )  # fmt: skip
        except Exception:
            admission = getattr(request.state, "admission", None)
            if admission is not None:
                admission.charge()
            raise
        return response


class Direct:
    """ASGI middleware: requests of ``routes`` (by path, all of them POST) do not reach the app."""

    def __init__(self, app: ASGIApp, routes: Mapping[str, DirectRoute]) -> None:
        self._app = app
        self._routes = {path: (route, route.body_model) for path, route in routes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.get(scope.get("path", ""))
        if found is None or scope.get("method") != "POST" or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        route, model = found
        request = StrictRequest(scope, receive, send)
        content, response = b"", None
        try:
            content = await request.body()
            if (body := await _fitting(request, model)) is not None:
                scope["route"] = route
                response = await route.guarded(route.serve(request, body))
        except ClientDisconnect:
            return
        except Exception as error:
            response = await answer_to(request, error)
            if response is None:
                raise
        if response is None:
            await self._app(scope, _again(content, receive), send)
        else:
            await response(scope, receive, send)


async def _fitting(request: Request, model: type[BaseModel]) -> BaseModel | None:
    """Return the request's body, or None of one that does not fit."""
    try:
        return model.model_validate(await request.json())
    except (ValueError, RecursionError):
        return None


def _again(content: bytes, receive: Receive) -> Receive:
    """Return ``receive`` from before the body was read."""
    read: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive_again() -> Message:
        return read.pop() if read else await receive()

    return receive_again
