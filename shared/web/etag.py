"""Optimistic locking: a configuration is changed only from the state that the caller has seen."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from fastapi import Header, Response

from shared.errors import PreconditionFailedError, PreconditionRequiredError

IfMatch = Annotated[str | None, Header(description="ETag of the state that you have seen.")]


class Revised(Protocol):
    """A state that counts its changes."""

    @property
    def revision(self) -> int: ...


_State = TypeVar("_State", bound=Revised)


def tagged(response: Response, state: _State) -> _State:
    """Return ``state``, with its ETag on the response."""
    response.headers["etag"] = etag_of(state.revision)
    return state


def etag_of(revision: int) -> str:
    """Return the strong ETag of a revision."""
    return f'"{revision}"'


def require_match(if_match: str | None, revision: int) -> None:
    """Refuse a change that was not made from ``revision``.

    Raises
    ------
    PreconditionRequiredError
        Without If-Match (428).
    PreconditionFailedError
        If somebody else has changed it since (412).
    """
    if if_match is None:
        raise PreconditionRequiredError("Send If-Match with the ETag that you have read.")
    tags = {tag.strip() for tag in if_match.split(",")}
    if "*" not in tags and etag_of(revision) not in tags:
        raise PreconditionFailedError("It has changed since you read it. Read it again.")
