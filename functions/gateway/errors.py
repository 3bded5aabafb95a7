"""What can go wrong between a client and a model; codes are those that OpenAI's clients know."""

from __future__ import annotations

from typing import Any

from shared.errors import DomainError, InvalidInputError, NotFoundError, UpstreamError


class ModelNotFoundError(NotFoundError):
    """The request names a model that is not registered."""

    code, title = "model-not-found", "Model not found"


class InvalidValueError(InvalidInputError):
    """A member, header or metadata entry does not mean anything; OpenAI answers 400."""

    status, code, title = 400, "invalid-value", "Invalid value"


class InvalidApiKeyError(DomainError):
    status, code, title = 401, "invalid-api-key", "Invalid API key"


class BudgetExceededError(DomainError):
    """What this request may cost does not fit into what the key's budget has left."""

    status, code, title = 429, "insufficient-quota", "Budget exceeded"


class AllModelsFailedError(UpstreamError):
    code, title = "upstream-failed", "Every model failed"


class UpstreamRateLimitedError(UpstreamError):
    """Every model that could serve is rate-limited by its provider."""

    status, code, title = 429, "rate-limit-exceeded", "Providers are rate-limited"


class UpstreamTimeoutError(UpstreamError):
    status, code, title = 504, "upstream-timeout", "No model answered in time"


class ModelsUnavailableError(UpstreamError):
    """Every model that could serve has failed so often that it is left alone for now."""

    status, code, title = 503, "models-unavailable", "No model is available"


class RejectedByProviderError(UpstreamError):
    """The provider found the request itself at fault; another model would not help.

    ``said`` is the provider's own error object, where it sent one.
    """

    status, code, title = 400, "rejected-by-provider", "Rejected by the provider"

    def __init__(
        self, detail: str, *, said: dict[str, Any] | None, headers: dict[str, str]
    ) -> None:
        super().__init__(detail, headers=headers)
        self.said = said


class ContentFilteredError(RejectedByProviderError):
    code, title = "content-filter", "Filtered by the provider"
