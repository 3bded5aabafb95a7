"""What can go wrong when somebody comes in."""

from __future__ import annotations

from shared.errors import ForbiddenError, NotFoundError, UnauthenticatedError


class BadCredentialsError(UnauthenticatedError):
    """Unknown e-mail or wrong password; never told apart."""

    code, title = "bad-credentials", "Login failed"


class RefreshRefusedError(UnauthenticatedError):
    code, title = "refresh-refused", "Refresh refused"


class CsrfError(ForbiddenError):
    code, title = "csrf", "Cross-site request refused"


class KeyNotFoundError(NotFoundError):
    code, title = "key-not-found", "API key not found"
