"""Where providers' OpenAI-compatible endpoints are and how each wants its key.

A registered model's ``provider`` selects the preset; a provider that is not listed is taken for
OpenAI's own dialect. Checked against each provider's documentation in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

AuthStyle = Literal["bearer", "api-key", "none"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider's dialect.

    ``base_url`` None: it names a resource, region or host of the operator's, so a model must bring
    its own (``notes`` shows the form). ``otel_name`` is the provider's name in OpenTelemetry's
    conventions. ``takes_stream_options`` False: the provider refuses the member and sends usage
    without it.
    """

    base_url: str | None
    auth: AuthStyle = "bearer"
    otel_name: str = "openai"
    takes_stream_options: bool = True
    chat_path: str = "/chat/completions"
    embeddings_path: str | None = "/embeddings"
    notes: str = ""


OPENAI = Preset("https://api.openai.com/v1")

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": OPENAI,
        "anthropic": Preset(
            "https://api.anthropic.com/v1",
            otel_name="anthropic",
            embeddings_path=None,
            notes="The compatibility endpoint takes the key as a bearer token.",
        ),
        "gemini": Preset(
            "https://generativelanguage.googleapis.com/v1beta/openai", otel_name="gcp.gemini"
        ),
        "groq": Preset(
            "https://api.groq.com/openai/v1", otel_name="groq", embeddings_path=None
        ),
        "deepseek": Preset(
            "https://api.deepseek.com",
            otel_name="deepseek",
            embeddings_path=None,
            notes="402 says that the account is empty.",
        ),
        "mistral": Preset(
            "https://api.mistral.ai/v1",
            otel_name="mistral_ai",
            takes_stream_options=False,
            notes="The last chunk of a stream always holds usage.",
        ),
        "sambanova": Preset("https://api.sambanova.ai/v1", otel_name="sambanova"),
        "cerebras": Preset(
            "https://api.cerebras.ai/v1", otel_name="cerebras", embeddings_path=None
        ),
        "bedrock": Preset(
            None,
            otel_name="aws.bedrock",
            embeddings_path=None,
            notes="https://bedrock-runtime.<region>.amazonaws.com/openai/v1 and a Bedrock API key.",
        ),
        "azure": Preset(
            None,
            auth="api-key",
            otel_name="azure.ai.openai",
            notes="https://<resource>.openai.azure.com/openai/v1; the model is the deployment.",
        ),
        "vllm": Preset(None, otel_name="vllm", notes="http://<host>:8000/v1; a key is optional."),
        "ollama": Preset("http://127.0.0.1:11434/v1", auth="none", otel_name="ollama"),
    }
)  # fmt: skip


def preset_of(provider: str) -> Preset:
    """Return the provider's preset, or OpenAI's dialect for one that is not listed."""
    return PRESETS.get(provider, OPENAI)
