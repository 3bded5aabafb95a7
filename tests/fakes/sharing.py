"""Blocking code in greenlets of one thread, as the container host runs the gateway's routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from infra.local.together import Together
from shared.kit.waiting import install

Result = TypeVar("Result")
PATH = "/work"


async def _none(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("nothing here runs in threads")


async def share(
    *works: Callable[[], Result], at_once: int | None = None
) -> list[Result | BaseException]:
    """Run ``works`` in greenlets of this loop, begun in this order; return results or errors."""
    found: list[Any] = [None] * len(works)

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        place = scope["place"]
        found[place] = works[place]()

    together = Together(application, _none, [PATH], at_once=at_once or len(works))
    install(together)
    outcomes = await asyncio.gather(
        *(_begin(together, place) for place in range(len(works))), return_exceptions=True
    )
    return [
        error if isinstance(error, BaseException) else result
        for error, result in zip(outcomes, found, strict=True)
    ]


def share_now(*works: Callable[[], Result]) -> list[Result | BaseException]:
    """Do the same in a loop of its own."""
    return asyncio.run(share(*works))


def _begin(together: Together, place: int) -> Awaitable[None]:
    scope = {
        "type": "http", "method": "POST", "path": PATH, "headers": [(b"content-length", b"1")],
        "place": place,
    }  # fmt: skip
    return together(scope, _receive, _send)


async def _receive() -> Any:
    return {"type": "http.request", "body": b"x", "more_body": False}


async def _send(_message: Any) -> None:
    return None
