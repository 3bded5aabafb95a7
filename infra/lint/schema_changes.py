"""How one JSON schema differs from another: for who sends what it describes, for who reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

# Keyword -> whether a larger number takes less.
_LIMITS = {
    "minLength": True, "minItems": True, "minimum": True, "exclusiveMinimum": True,
    "minProperties": True, "maxLength": False, "maxItems": False, "maximum": False,
    "exclusiveMaximum": False, "maxProperties": False,
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One difference: where, what, and what to do instead."""

    is_breaking: bool
    pointer: str
    what: str
    remedy: str

    @staticmethod
    def breaking(pointer: str, what: str, remedy: str) -> Change:
        return Change(True, pointer, what, remedy)

    @staticmethod
    def warning(pointer: str, what: str, remedy: str) -> Change:
        return Change(False, pointer, what, remedy)

    def __str__(self) -> str:
        kind = "BREAKS" if self.is_breaking else "notice"
        return f"{kind}  {self.pointer}: {self.what}. Remedy: {self.remedy}."


class Comparison:
    """Compares schemas of two documents, following their references; recursion ends by itself."""

    def __init__(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, str]] = set()

    def resolve_old(self, value: Schema) -> Schema:
        """Return what ``value`` refers to in the old document, or itself."""
        return _resolve(value, self._old)

    def resolve_new(self, value: Schema) -> Schema:
        """Return what ``value`` refers to in the new document, or itself."""
        return _resolve(value, self._new)

    def sent(self, place: str, old: Schema, new: Schema) -> Iterator[Change]:
        """Yield what callers may no longer send."""
        yield from self._compare(place, old, new, is_sent=True)

    def read(self, place: str, old: Schema, new: Schema) -> Iterator[Change]:
        """Yield what readers of answers miss, or cannot know."""
        yield from self._compare(place, old, new, is_sent=False)

    def _compare(self, place: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[Change]:
        key = (old.get("$ref", ""), new.get("$ref", ""), str(is_sent))
        if key[0] and key[1]:
            if key in self._seen:
                return
            self._seen.add(key)
        before, now = self.resolve_old(old), self.resolve_new(new)
        old_kinds, new_kinds = _alternatives(before), _alternatives(now)
        yield from _nullability(place, before, now, is_sent=is_sent)
        if len(old_kinds) != 1 or len(new_kinds) != 1:
            yield from self._unions(place, old_kinds, new_kinds, is_sent=is_sent)
            return
        if before is not old_kinds[0] or now is not new_kinds[0]:
            yield from self._compare(place, old_kinds[0], new_kinds[0], is_sent=is_sent)
            return
        if before.get("type") != now.get("type"):
            if not (is_sent and "type" not in now) and not _is_integer_for_number(
                before, now, is_sent=is_sent
            ):
                yield Change.breaking(
                    place, f"type {before.get('type')} became {now.get('type')}",
                    "add a new member beside the old one",
                )  # fmt: skip
            return
        yield from _enumeration(place, before, now, is_sent=is_sent)
        if is_sent:
            yield from _limits(place, before, now)
        yield from self._members(place, before, now, is_sent=is_sent)
        for inner in ("items", "additionalProperties"):
            if isinstance(before.get(inner), dict) and isinstance(now.get(inner), dict):
                yield from self._compare(
                    f"{place}/{inner}", before[inner], now[inner], is_sent=is_sent
                )

    def _members(self, place: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[Change]:
        before, now = old.get("properties", {}), new.get("properties", {})
        required = set(new.get("required", ()))
        for name, member in before.items():
            where = f"{place}/{name}"
            if name not in now:
                if not is_sent:
                    yield Change.breaking(where, "member removed", "go on answering it")
                elif new.get("additionalProperties") is False:
                    yield Change.breaking(where, "member no longer taken", "take and ignore it")
                continue
            if not is_sent and name in set(old.get("required", ())) - required:
                yield Change.breaking(
                    where, "may be missing now", "always answer it, null at least"
                )
            yield from self._compare(where, member, now[name], is_sent=is_sent)
        if not is_sent:
            return
        for name in sorted(required - set(old.get("required", ()))):
            yield Change.breaking(f"{place}/{name}", "became required", "give it a default")
        was_open = old.get("additionalProperties") is not False and before
        if was_open and new.get("additionalProperties") is False:
            yield Change.breaking(place, "unknown members are refused now", "go on ignoring them")

    def _unions(
        self, place: str, old: list[Schema], new: list[Schema], *, is_sent: bool
    ) -> Iterator[Change]:
        before = {_canonical(s, self._old) for s in old}
        now = {_canonical(s, self._new) for s in new}
        lost = before - now if is_sent else now - before
        if lost:
            yield Change.breaking(
                place,
                "an alternative is no longer taken" if is_sent else "answers have a new form",
                "keep the forms that there were",
            )


def _resolve(value: Schema, document: dict[str, Any]) -> Schema:
    while "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _alternatives(schema: Schema) -> list[Schema]:
    """Return what ``schema`` may be, apart from null."""
    for key in ("anyOf", "oneOf"):
        if key in schema and "properties" not in schema:
            return [s for s in schema[key] if s.get("type") != "null"]
    return [schema]


def _nullability(place: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[Change]:
    before, now = _takes_null(old), _takes_null(new)
    if is_sent and before and not now:
        yield Change.breaking(place, "null is no longer taken", "go on taking it")
    if not is_sent and now and not before:
        yield Change.breaking(place, "may be null now", "add a new member beside the old one")


def _takes_null(schema: Schema) -> bool:
    return any(
        s.get("type") == "null" for s in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    )


def _is_integer_for_number(old: Schema, new: Schema, *, is_sent: bool) -> bool:
    """Return whether one side says integer where the other says number, in the harmless way."""
    kinds = (old.get("type"), new.get("type"))
    return kinds == (("integer", "number") if is_sent else ("number", "integer"))


def _enumeration(place: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[Change]:
    before, now = _values(old), _values(new)
    if is_sent and now is not None:
        gone = sorted(map(str, (before or set()) - now))
        if before is None:
            yield Change.breaking(place, f"only {sorted(now)} are taken now", "take what was taken")
        elif gone:
            yield Change.breaking(
                place, f"no longer takes {', '.join(gone)}", "take it as another name"
            )
    if not is_sent and before is not None:
        added = sorted(map(str, (now or set()) - before))
        if now is None:
            yield Change.breaking(place, "may have any value now", "keep the list of values")
        elif added:
            yield Change.warning(
                place,
                f"may be {', '.join(added)} now",
                "say it in CHANGELOG.md: clients may not know it",
            )


def _values(schema: Schema) -> set[Any] | None:
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def _limits(place: str, old: Schema, new: Schema) -> Iterator[Change]:
    for keyword, larger_is_narrower in _LIMITS.items():
        if keyword not in new:
            continue
        before, now = old.get(keyword), new[keyword]
        is_narrower = before is None or (now > before if larger_is_narrower else now < before)
        if is_narrower and not (before is None and now == 0 and larger_is_narrower):
            yield Change.breaking(
                place, f"{keyword} {'is' if before is None else f'went from {before} to'} {now}",
                "take what was taken",
            )  # fmt: skip
    # int32 and int64 only repeat the limits.
    for keyword in ("pattern",) if new.get("type") == "integer" else ("pattern", "format"):
        if keyword in new and new[keyword] != old.get(keyword):
            yield Change.breaking(
                place, f"{keyword} is {new[keyword]!r} now", "take what was taken"
            )


def _canonical(schema: Schema, document: dict[str, Any]) -> str:
    """Return a form by which alternatives are compared: their kind and their members' names."""
    found = _resolve(schema, document)
    return json.dumps(
        [found.get("type"), sorted(found.get("properties", {})), sorted(found.get("required", ()))]
    )
