"""The model registry on the wire."""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import IPv6Address
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from shared.schemas.common import STORABLE, Labels, ModelId, Request, Response, Slug, never_null
from shared.schemas.neural import Modality
from shared.secrets import provider_reference_fault

Status = Literal["operational", "degraded", "down"]
LatencySource = Literal["measured", "reported"]
Price = Annotated[
    float, Field(ge=0, le=1e6, description="USD per million tokens.", examples=[0.15])
]
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_URL_PATTERN = (
    rf"^https?://({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(:{_PORT})?"
    r'([/?][!-"$-~]*)?$'
)
BaseUrl = Annotated[
    str,
    Field(
        max_length=512,
        description="http(s)://host[:port]/path in ASCII, without credentials or fragment.",
        examples=["https://api.openai.com/v1"],
        json_schema_extra={"pattern": _URL_PATTERN},
    ),
]


def _check_reference(reference: str) -> str:
    fault = provider_reference_fault(reference)
    if fault is not None:
        raise ValueError(fault)
    return reference


# As a pattern for readers of the document; ``provider_reference_fault`` decides.
_REFERENCE_PATTERN = (
    "^(env:(?!AWS_|DAVINCI_)[A-Za-z0-9_]*_API_KEY"
    "|file:/run/secrets/davinci-providers/[A-Za-z0-9._+=@-]+"
    "|secretsmanager:(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?"
    "davinci/[a-z]+/providers/[A-Za-z0-9_+=.@-]+)(#[A-Za-z0-9_.-]+)?$"
)
SecretRef = Annotated[
    str,
    Field(
        max_length=512,
        description="Where the provider's key lies, never the key.",
        examples=["env:OPENAI_API_KEY", "secretsmanager:davinci/prod/providers/openai#api_key"],
        json_schema_extra={"pattern": _REFERENCE_PATTERN},
    ),
    AfterValidator(_check_reference),
]


def _check_url(url: str | None) -> str | None:
    if url is None:
        return None
    if not re.fullmatch(_URL_PATTERN, url):
        raise ValueError(
            "use http(s)://host[:port]/path with a host's name or an IPv6 address in brackets, "
            "a port up to 65535, and neither credentials nor a fragment"
        )
    host = url.partition("://")[2]
    if host.startswith("["):
        try:
            IPv6Address(host[1 : host.index("]")])
        except ValueError:
            raise ValueError("what is in brackets is not an IPv6 address") from None
    return url.rstrip("/")


class ModelCreate(Request):
    """Register one served model: endpoint, upstream name, price, limits."""

    id: ModelId
    provider: Slug = Field(examples=["openai"])
    base_url: BaseUrl
    upstream_name: str = Field(
        min_length=1, max_length=256, pattern=STORABLE, examples=["gpt-4o-mini"]
    )
    secret_ref: SecretRef | None = None
    input_usd_per_mtok: Price | None = Field(None, description="None: unknown, never 0 instead.")
    output_usd_per_mtok: Price | None = None
    context_tokens: int = Field(ge=1, le=100_000_000, examples=[128_000])
    max_tokens_out: int | None = Field(None, ge=1, le=100_000_000)
    modalities: list[Modality] = Field(
        default_factory=lambda: ["text"],  # type: ignore[arg-type]
        min_length=1,
        max_length=4,
    )
    region: str | None = Field(None, max_length=64, pattern=STORABLE)
    latency_source: LatencySource = Field(
        "measured",
        description="`reported` takes the upstream's openai-processing-ms header instead of the "
        "measured time.",
    )
    labels: Labels = Field(default_factory=dict)
    status: Status = "operational"
    enabled: bool = True

    _url = field_validator("base_url")(_check_url)


class ModelUpdate(Request):
    """What to change; members left out stay."""

    model_config = ConfigDict(
        json_schema_extra=never_null(
            "base_url", "upstream_name", "context_tokens", "modalities", "latency_source",
            "labels", "status", "enabled",
        )
    )  # fmt: skip

    base_url: BaseUrl | None = None
    upstream_name: str | None = Field(None, min_length=1, max_length=256, pattern=STORABLE)
    secret_ref: SecretRef | None = None
    input_usd_per_mtok: Price | None = None
    output_usd_per_mtok: Price | None = None
    context_tokens: int | None = Field(None, ge=1, le=100_000_000)
    max_tokens_out: int | None = Field(None, ge=1, le=100_000_000)
    modalities: list[Modality] | None = Field(None, min_length=1, max_length=4)
    region: str | None = Field(None, max_length=64, pattern=STORABLE)
    latency_source: LatencySource | None = None
    labels: Labels | None = None
    status: Status | None = None
    enabled: bool | None = None

    _url = field_validator("base_url")(_check_url)


class Model(Response):
    id: str
    provider: str
    base_url: str
    upstream_name: str
    secret_ref: str | None
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    context_tokens: int
    max_tokens_out: int | None
    modalities: list[str]
    region: str | None
    latency_source: LatencySource
    labels: dict[str, str]
    status: Status
    enabled: bool
    revision: int
    created_at: datetime
    updated_at: datetime


class ModelPage(Response):
    items: list[Model]
    next_cursor: str | None
