"""Progress goes to standard error: standard output is for the result."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write one line of progress."""
    print(f"  {text} ...", file=sys.stderr, flush=True)
