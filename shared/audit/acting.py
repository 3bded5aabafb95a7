"""The actor of a request, for routes that change something."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from shared.audit.log import Actor


async def current_actor(request: Request) -> Actor:
    """Return the caller that authorization let in; on public routes nobody in particular."""
    state = request.state
    caller = getattr(state, "caller", None)
    if caller is None:
        return Actor("anonymous", "anonymous", state.request_id)
    return Actor(caller.id, caller.name, state.request_id)


CurrentActor = Annotated[Actor, Depends(current_actor)]
