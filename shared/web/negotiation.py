"""What a request may ask for: media types (RFC 9110) and query parameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from shared.errors import DomainError, FieldError, InvalidInputError

_RANGE = re.compile(r"\s*([\w!#$&^.+-]+|\*)/([\w!#$&^.+-]+|\*)\s*((?:;[^,]*)?)$")
_QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)


class NotAcceptableError(DomainError):
    status, code, title = 406, "not-acceptable", "Not acceptable"


def choose_media_type(accept: str | None, offers: Sequence[str]) -> str:
    """Return the offer that ``accept`` likes best, of equals the first; no header likes anything.

    Raises
    ------
    NotAcceptableError
        If it admits none of them; names them.
    """
    ranges = _ranges(accept or "")
    if not ranges or not offers:
        return offers[0] if offers else ""
    qualities = [_quality(offer, ranges) for offer in offers]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptableError(f"This route answers with {' or '.join(offers)}.")
    return offers[qualities.index(best)]


def refuse_repeated_parameters(given: Sequence[str], lists: Collection[str]) -> None:
    """Refuse query parameters that come twice: which one counts, readers answer differently.

    Raises
    ------
    InvalidInputError
        Naming each, but for those that are ``lists``.
    """
    repeated = [name for name, n in Counter(given).items() if n > 1 and name not in lists]
    if repeated:
        raise InvalidInputError(
            "A query parameter comes more than once.",
            errors=[FieldError(f"?{name}", "send it once") for name in sorted(repeated)],
        )


def refuse_unknown_parameters(given: Collection[str], known: Collection[str]) -> None:
    """Refuse query parameters that nothing reads: a misspelt filter must not pass as none.

    Raises
    ------
    InvalidInputError
        Naming each and the nearest known one.
    """
    unknown = sorted(set(given) - set(known))
    if not unknown:
        return
    from difflib import get_close_matches

    errors = []
    for name in unknown[:20]:
        near = get_close_matches(name[:64], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or '-'}"
        errors.append(FieldError(f"?{name[:64]}", f"unknown parameter; {hint}"))
    raise InvalidInputError("The route does not know a query parameter.", errors=errors)


def _ranges(accept: str) -> list[tuple[str, str, float]]:
    """Return (type, subtype, quality) of each well-formed range; malformed ones say nothing."""
    found = []
    for part in accept.lower().split(","):
        if match := _RANGE.match(part):
            quality = _QUALITY.search(match[3])
            found.append((match[1], match[2], float(quality[1]) if quality else 1.0))
    return found


def _quality(offer: str, ranges: Sequence[tuple[str, str, float]]) -> float:
    """Return the quality of the most specific range that fits."""
    kind, _, subtype = offer.partition("/")
    fitting = [
        ((a != "*") + (b != "*"), quality)
        for a, b, quality in ranges
        if a in {kind, "*"} and b in {subtype, "*"}
    ]
    return max(fitting, key=lambda f: f[0])[1] if fitting else 0.0
