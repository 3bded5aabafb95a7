"""What can go wrong between a client and a model."""

from __future__ import annotations

from shared.errors import InvalidInputError, NotFoundError, UpstreamError


class ModelNotFoundError(NotFoundError):
    """The request names a model that is not registered (OpenAI's code: model_not_found)."""

    code, title = "model-not-found", "Model not found"


class BadModelError(InvalidInputError):
    code, title = "bad-model", "Bad model name"


class AllModelsFailedError(UpstreamError):
    code, title = "upstream-failed", "Every model failed"


class RejectedByProviderError(UpstreamError):
    """The provider found the request itself at fault; another model would not help."""

    status, code, title = 400, "rejected-by-provider", "Rejected by the provider"
