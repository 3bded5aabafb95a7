"""Logins and API keys on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from shared.schemas.common import (
    STORABLE,
    InstantParameter,
    Labels,
    Request,
    Response,
    Role,
    Scope,
    never_null,
)

Password = Annotated[str, Field(min_length=1, max_length=1_024)]
NewPassword = Annotated[
    str,
    Field(
        min_length=8,
        max_length=1_024,
        description="8 characters or more, at most 1,024 bytes, none of the common ones, not the "
        "e-mail address. No other rules.",
        examples=["correct horse battery staple"],
    ),
]
Email = Annotated[
    str,
    Field(
        min_length=3,
        max_length=254,
        pattern=r"^[!-?A-~]+@[!-?A-~]+$",
        description="Compared without case.",
        examples=["ada@example.com"],
    ),
]


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("no address holds a NUL character")
    return text


class LoginRequest(Request):
    email: Annotated[str, AfterValidator(_without_nul)] = Field(
        min_length=3, max_length=254, examples=["admin@davinci.local"]
    )
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


class UserCreate(Request):
    email: Email
    password: NewPassword
    role: Role = "viewer"


class UserUpdate(Request):
    """What to change; members left out stay. Each but `unlock` ends the user's sessions."""

    model_config = ConfigDict(json_schema_extra=never_null("role", "is_active", "password"))

    role: Role | None = None
    is_active: bool | None = Field(None, description="False locks the user out.")
    password: NewPassword | None = None
    unlock: bool = Field(False, description="Forget wrong passwords, so that no wait is left.")


class PasswordChange(Request):
    current_password: Password
    new_password: NewPassword


class User(Response):
    id: str = Field(examples=["usr_019ab3c4d5e67f8091a2b3c4d5e6f708"])
    email: str
    role: Role
    is_active: bool
    revision: int = Field(ge=1, le=2**31 - 1, description='In quotes it is the ETag: `"3"`.')
    created_at: datetime
    updated_at: datetime
    password_changed_at: datetime
    last_login_at: datetime | None


class UserPage(Response):
    items: list[User]
    next_cursor: str | None


class Budget(Request):
    """What a key may cost per window of the calendar (UTC), or in total."""

    usd: float = Field(ge=0.000_001, le=1e9, examples=[25.0])
    window: Literal["day", "month", "total"] = Field(examples=["month"])


class KeyUsage(Response):
    """Over the last 30 days."""

    requests: int = Field(ge=0, le=2**53)
    tokens: int = Field(ge=0, le=2**53)
    cost_usd: float


class KeySpend(Response):
    """What the budget is measured against, in its running window: the enforced number."""

    since: datetime = Field(description="Begin of the window.")
    spent_usd: float = Field(ge=0)
    held_usd: float = Field(ge=0, description="Held for requests in work.")


class KeyCreate(Request):
    name: str = Field(min_length=1, max_length=100, pattern=STORABLE, examples=["checkout-service"])
    scopes: list[Scope] = Field(min_length=1, max_length=5, examples=[["chat", "feedback"]])
    labels: Labels = Field(default_factory=dict)
    expires_at: InstantParameter | None = Field(
        None, description="In the future. None: until revoked."
    )
    rpm: int | None = Field(None, ge=1, le=1_000_000, description="Requests a minute.")
    tpm: int | None = Field(None, ge=1, le=1_000_000_000, description="Tokens a minute.")
    budget: Budget | None = None


class KeyRotate(Request):
    overlap_s: int = Field(
        86_400, ge=0, le=604_800, description="How long the secret before works too; 0: not at all."
    )


class Key(Response):
    id: str
    name: str
    prefix: str = Field(description="The first characters, to recognise it by.")
    scopes: list[str]
    labels: dict[str, str]
    rpm: int | None
    tpm: int | None
    budget: Budget | None
    spend: KeySpend | None = Field(description="Of keys with a budget.")
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    previous_valid_until: datetime | None = Field(
        description="Until then the secret before the last rotation works too."
    )
    last_used_at: datetime | None = Field(description="To the minute.")
    usage: KeyUsage


class KeyCreated(Key):
    secret: str = Field(description="The key itself, shown this once.")


class KeyPage(Response):
    items: list[Key]
    next_cursor: str | None
