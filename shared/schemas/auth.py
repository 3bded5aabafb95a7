"""Logins and API keys on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from shared.schemas.common import Labels, Request, Response, Role, Scope

Password = Annotated[str, Field(min_length=1, max_length=1_024)]


class LoginRequest(Request):
    email: str = Field(min_length=3, max_length=254, examples=["admin@davinci.local"])
    password: Password


class RefreshRequest(Request):
    """For clients without cookies; browsers send none."""

    refresh_token: str | None = Field(None, max_length=256)


class TokenResponse(Response):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token expires.")
    refresh_token: str | None = Field(
        description="Only for clients that did not ask for the cookie (x-davinci-client: browser)."
    )


class Identity(Response):
    id: str
    kind: Literal["user", "api_key"]
    name: str
    role: Role | None
    scopes: list[str]
    expires_at: datetime | None


class Jwk(Response):
    kty: str
    crv: str
    use: str
    alg: str
    kid: str
    x: str


class Jwks(Response):
    keys: list[Jwk]


class KeyCreate(Request):
    name: str = Field(min_length=1, max_length=100, examples=["checkout-service"])
    scopes: list[Scope] = Field(min_length=1, max_length=5, examples=[["chat", "feedback"]])
    labels: Labels = Field(default_factory=dict)
    expires_at: AwareDatetime | None = Field(None, description="None: until revoked.")


class Key(Response):
    id: str
    name: str
    prefix: str = Field(description="The first characters, to recognise it by.")
    scopes: list[str]
    labels: dict[str, str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyCreated(Key):
    secret: str = Field(description="The key itself, shown this once.")


class KeyPage(Response):
    items: list[Key]
    next_cursor: str | None
