"""JSON that no two parsers read differently: UTF-8, no member named twice, not nested deeper than
anybody means it. NaN passes to the schemas, which refuse it with its place.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 32
# Strings (also unterminated ones, so that every byte is looked at once) and brackets.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.?+)*+"?+|[\[{]|[\]}]', re.DOTALL)


def loads(document: bytes) -> Any:
    """Return the value of a document.

    Raises
    ------
    json.JSONDecodeError
        If it is no JSON, names a member twice or is nested deeper than ``MAX_DEPTH``; the
        error never repeats the document.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    _refuse_depth(document)
    return _decoder.decode(document.decode())


def _refuse_depth(document: bytes) -> None:
    # Nearly every body ends here.
    if document.count(b"{") + document.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(document):
        first = document[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                detail = f"nested deeper than {MAX_DEPTH} levels"
                raise json.JSONDecodeError(detail, "", 0)
        elif first in b"]}":
            depth -= 1


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise json.JSONDecodeError("an object names a member twice", "", 0)
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_unique)
