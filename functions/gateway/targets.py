"""What ``model`` asks for: automatic routing, a level, a policy, or one model."""

from __future__ import annotations

from dataclasses import dataclass

from functions.gateway.errors import InvalidValueError, ModelNotFoundError
from shared.decisions.snapshot import World
from shared.errors import FieldError
from shared.routing.types import LEVELS, Level


@dataclass(frozen=True, slots=True)
class Target:
    """Parsed ``model``; at most one member is set, none means automatic."""

    level: Level | None = None
    policy: str | None = None
    model: str | None = None


def parse_target(name: str, world: World) -> Target:
    """Return what ``name`` asks for.

    Raises
    ------
    InvalidValueError
        For an unknown level.
    ModelNotFoundError
        For a model or policy that is not there.
    """
    if name == "auto":
        return Target()
    kind, _, rest = name.partition(":")
    if kind == "auto":
        level = next((level for level in LEVELS if level == rest), None)
        if level is None:
            raise InvalidValueError(
                f"{name!r}: the levels are {', '.join(LEVELS)}.",
                errors=[FieldError("#/model", "unknown level")],
            )
        return Target(level=level)
    if kind == "policy":
        if rest not in world.policies:
            raise _missing(f"There is no policy {rest!r}.")
        return Target(policy=rest)
    if name not in world.upstreams:
        raise _missing(f"There is no model {name!r}; GET /v1/models lists them, 'auto' chooses.")
    return Target(model=name)


def _missing(detail: str) -> ModelNotFoundError:
    return ModelNotFoundError(detail, errors=[FieldError("#/model", "not found")])
