"""``Direct``: a route for which FastAPI's work of each request is done by hand.

FastAPI solves a tree of dependencies anew for every request, which costs more than deciding. Where
a route takes exactly a body, the request, its caller and an Idempotency-Key, the same is four lines.
Whatever does not fit goes FastAPI's way, so errors are those that it makes.
"""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from shared.web.callers import authorize
from shared.web.routing import Handler, Route


class Direct(Route):
    """A route whose functions with a body take ``(body, request, caller, idempotency_key)``.

    These charge the request's buckets themselves. Who fails before is charged here, for what is
    refused counts as well, and who is over a limit is told that first.
    """

    @property
    def admits(self) -> bool:
        return bool(self.dependant.body_params)

    def make_handler(self) -> Handler:
        by_fastapi = super().make_handler()
        if not self.admits:
            return by_fastapi
        (parameter,) = self.dependant.body_params
        model: type[BaseModel] = parameter.field_info.annotation  # type: ignore[assignment]
        endpoint = self.endpoint

        async def answer(request: Request) -> Response:
            try:
                body = model.model_validate(await request.json())
            except HTTPException:
                raise
            except Exception:  # noqa: BLE001 - FastAPI finds it again, and says it
                return await by_fastapi(request)
            await authorize(request)
            response: Response = await endpoint(
                body=body, request=request, caller=request.state.caller,
                idempotency_key=request.headers.get("idempotency-key"),
            )  # fmt: skip
            return response

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception:
                admission = getattr(request.state, "admission", None)
                if admission is not None:
                    admission.charge()
                raise

        return handle
