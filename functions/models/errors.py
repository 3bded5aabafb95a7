"""What can go wrong in the registry."""

from __future__ import annotations

from shared.errors import ConflictError, NotFoundError


class ModelNotFoundError(NotFoundError):
    code, title = "model-not-found", "Model not found"


class ModelExistsError(ConflictError):
    code, title = "model-exists", "Model exists"
