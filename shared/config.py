"""Settings, read from the environment once per process; a bad value fails at start by its name.

Tests construct ``Settings(...)`` directly and never patch the environment.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


def _origins(value: object) -> object:
    """Split ``https://a.example, https://b.example``; refuse what is no exact origin."""
    if not isinstance(value, str):
        return value
    origins = frozenset(filter(None, (part.strip() for part in value.split(","))))
    if wrong := sorted(o for o in origins if not _ORIGIN.fullmatch(o)):
        raise ValueError(f"not an origin like https://app.example: {', '.join(wrong)}")
    return origins


class Settings(BaseModel):
    """What a function may read of its environment."""

    model_config = ConfigDict(
        # database_timeout_s is read from DAVINCI_DATABASE_TIMEOUT_S.
        alias_generator=AliasGenerator(validation_alias=lambda name: f"DAVINCI_{name.upper()}"),
        extra="ignore",
        frozen=True,
        validate_by_name=True,
    )

    environment: Literal["local", "dev", "staging", "prod"] = "local"
    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    database_timeout_s: float = Field(5.0, gt=0, description="Longest wait for one answer.")
    database_connections: int = Field(
        1, ge=1, description="Per process; 1 fits one request at a time."
    )
    database_trusted_idle_s: float = Field(
        1.0, ge=0, description="A connection that was idle for longer is pinged before its use."
    )
    database_ca_file: str | None = Field(None, description="CA bundle; set it to require TLS.")
    http_requests: int = Field(
        1_000, ge=1, description="Requests for models in work at once in a container; more wait."
    )
    http_threads: int = Field(
        64, ge=1, description="Other requests in work at once in a container; more wait."
    )

    signing_keys: str = Field("", description="Secret reference of the JWT keys (see secrets.py).")
    issuer: str = "davinci"
    access_token_ttl_s: int = Field(900, ge=60, le=900)
    refresh_token_ttl_s: int = Field(14 * 86_400, ge=3_600)
    refresh_grace_s: float = Field(
        10.0, ge=0, le=60, description="A spent token gives its successor again; 0: never."
    )

    snapshot_ttl_s: float = Field(2.0, ge=0)
    credential_ttl_s: float = Field(30.0, ge=0, le=30)
    store_text: bool = False
    max_body_bytes: int = Field(1_048_576, ge=1_024)
    allowed_origins: Annotated[frozenset[str], BeforeValidator(_origins)] = Field(
        frozenset(), description="Other origins whose pages may call, comma-separated and exact."
    )

    rate_limit_global_per_minute: int = Field(
        10_000, ge=0, description="All callers together; 0: no limit."
    )
    rate_limit_caller_per_minute: int = Field(
        1_000, ge=0, description="Each caller; an API key may have its own (rpm). 0: no limit."
    )

    bus: Literal["local", "eventbridge"] = "local"
    event_bus_name: str = "davinci"
    relay_function: str = Field(
        "", description="Function woken after a write; empty: schedule only."
    )
    relay_look_again_s: float = Field(1.1, ge=0, description="Above the writers' wake interval.")
    local_cloud_url: str = ""
    local_cloud_token: SecretStr = SecretStr("")

    upstream_connect_timeout_s: float = Field(5.0, gt=0)
    upstream_first_byte_timeout_s: float = Field(
        20.0, gt=0, description="Of a stream: until its first content."
    )
    upstream_idle_timeout_s: float = Field(15.0, gt=0, description="Between a stream's chunks.")
    upstream_total_timeout_s: float = Field(28.0, gt=0, description="Below API Gateway's 30 s.")
    upstream_stream_timeout_s: float = Field(600.0, gt=0, description="A whole stream.")
    upstream_ca_file: str | None = Field(
        None, description="CA bundle of models of your own, besides the public authorities."
    )
    otel_endpoint: str = Field("", description="OTLP/HTTP collector; empty: no spans, no metrics.")
    metrics_token: SecretStr = SecretStr("")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings.

    Raises
    ------
    pydantic.ValidationError
        Naming the variable that is missing or malformed.
    """
    return Settings.model_validate(dict(os.environ))
