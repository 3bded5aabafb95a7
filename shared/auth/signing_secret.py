"""The signing secret: random strings that everything we sign is keyed by, and when they take turns.

A JSON document ``{"current": text, "previous": text, "current_signs_at": instant}``; the last two
may be empty or missing. Both strings verify. The previous one signs until ``current_signs_at``, by
when every process has read the document again: none ever meets a signature that it cannot know.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from shared.secrets import TTL_S

# Processes' copies are as old as this at most; and a minute for clocks that differ.
PROPAGATION = timedelta(seconds=TTL_S + 60)
# An access token at its longest, and the leeway: so long what was signed before must verify.
_IN_USE = timedelta(seconds=900 + 60)


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """The strings of a document, the current one first; ``signs_at`` in seconds since 1970."""

    strings: tuple[str, ...]
    signs_at: float

    @property
    def signer(self) -> int:
        """Return the place of the string that signs now."""
        return 1 if len(self.strings) > 1 and time.time() < self.signs_at else 0


@lru_cache(maxsize=4)
def parse(document: str) -> SigningSecret:
    """Return what a document says.

    Raises
    ------
    ValueError
        If it is no such document.
    """
    said = json.loads(document)
    signs_at = said.get("current_signs_at")
    strings = tuple(filter(None, (said["current"], said.get("previous"))))
    return SigningSecret(strings, datetime.fromisoformat(signs_at).timestamp() if signs_at else 0.0)


def rotated(document: str, now: datetime, *, at_once: bool = False) -> str:
    """Return the document with a new string in the place of the current one.

    ``at_once``, after a leak: the strings before verify nothing any more, so access tokens, cursors
    and kept answers end.

    Raises
    ------
    ValueError
        If what the previous string signed is still in use: it would end, too.
    """
    new = secrets.token_urlsafe(48)
    if at_once:
        return json.dumps({"current": new, "previous": ""})
    secret = parse(document)
    free_at = datetime.fromtimestamp(secret.signs_at, now.tzinfo) + _IN_USE
    if len(secret.strings) > 1 and now < free_at:
        raise ValueError(f"the last rotation is in use; rotate after {free_at.isoformat()}")
    signs_at = (now + PROPAGATION).isoformat()
    return json.dumps({"current": new, "previous": secret.strings[0], "current_signs_at": signs_at})
