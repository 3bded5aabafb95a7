"""Which route of an HTTP API serves a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from infra.local.system import Route

_VARIABLE = re.compile(r"\{([^}+]+)(\+?)\}")


@dataclass(frozen=True)
class Match:
    route: Route
    parameters: Mapping[str, str] = field(default_factory=dict)


class RouteTable:
    """Routes in API Gateway's order of preference.

    A full match beats a greedy ``{proxy+}`` whatever its length, a fixed segment beats a
    variable, a method beats ``ANY``, and ``$default`` takes what is left. Paths are compared
    decoded, because an HTTP API decodes them before it routes: an encoded slash separates.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._default: Match | None = None
        self._fixed: dict[tuple[str, str], Match] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for route in sorted(routes, key=_preference):
            if route.path == "$default":
                self._default = Match(route)
            elif "{" in route.path:
                self._patterns.append((_compile(route.path), route))
            else:
                self._fixed[route.method, route.path] = Match(route)

    def match(self, method: str, path: str) -> Match | None:
        """Return the preferred route for a decoded ``path``, or None: API Gateway's 404."""
        fixed = self._fixed.get((method, path)) or self._fixed.get(("ANY", path))
        if fixed:
            return fixed
        for pattern, route in self._patterns:
            if route.method in {method, "ANY"} and (found := pattern.fullmatch(path)):
                names = [name for name, _ in _VARIABLE.findall(route.path)]
                return Match(route, dict(zip(names, found.groups(), strict=True)))
        return self._default


def _preference(route: Route) -> tuple[bool, list[int], bool]:
    kinds = [2 if "+}" in s else 1 if "{" in s else 0 for s in route.path.split("/")]
    return 2 in kinds, kinds, route.method == "ANY"


def _compile(path: str) -> re.Pattern[str]:
    # Positional groups: names such as {policy-id} are no Python identifiers.
    parts = (
        "(.+)" if s.endswith("+}") else "([^/]+)" if s.startswith("{") else re.escape(s)
        for s in path.split("/")
    )
    return re.compile("/".join(parts), re.DOTALL)
