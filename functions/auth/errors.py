"""What can go wrong when somebody comes in, and with users and keys."""

from __future__ import annotations

import math

from shared.errors import (
    ConflictError,
    DomainError,
    FieldError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)


class BadCredentialsError(UnauthenticatedError):
    """Unknown e-mail or wrong password; never told apart."""

    code, title = "bad-credentials", "Login failed"


class TooManyAttemptsError(DomainError):
    """Too many wrong passwords for one account, known or not."""

    status, code, title = 429, "too-many-attempts", "Too many attempts"

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            "Too many failed attempts. Wait as long as Retry-After says, or ask an administrator "
            "to unlock the account.",
            headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
        )


class RefreshRefusedError(UnauthenticatedError):
    code, title = "refresh-refused", "Refresh refused"


class CsrfError(ForbiddenError):
    code, title = "csrf", "Cross-site request refused"


class WrongPasswordError(ForbiddenError):
    """The current password does not fit; no 401, which would make clients refresh and try again."""

    code, title = "wrong-password", "Wrong password"


class WeakPasswordError(InvalidInputError):
    code, title = "weak-password", "Password refused"

    def __init__(self, member: str, fault: str) -> None:
        super().__init__("Choose another password.", errors=[FieldError(f"#/{member}", fault)])


class UserNotFoundError(NotFoundError):
    code, title = "user-not-found", "User not found"


class UserExistsError(ConflictError):
    code, title = "user-exists", "User exists"


class LastAdminError(ConflictError):
    code, title = "last-admin", "The last administrator stays"


class KeyNotFoundError(NotFoundError):
    code, title = "key-not-found", "API key not found"


class KeyOverError(ConflictError):
    code, title = "key-over", "API key revoked or expired"


class KeyBeyondOwnError(ForbiddenError):
    """A key would get a secret that may more than itself."""

    code, title = "key-beyond-own", "More than the key itself may"


class RotationUnfinishedError(ConflictError):
    code, title = "rotation-unfinished", "Rotation unfinished"
