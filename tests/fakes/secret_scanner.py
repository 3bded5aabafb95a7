"""What a secret scanner does with the published pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.auth.api_keys import KEY_PATTERN, is_well_formed


def find_keys(text: str) -> Iterator[str]:
    """Yield what is an API key in ``text``, such as a log or a commit."""
    for found in re.finditer(KEY_PATTERN, text):
        if is_well_formed(found.group()):
            yield found.group()
