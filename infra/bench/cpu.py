"""Where processor time goes, by the kind of process: robust where wall times are noisy."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds_below(pid: int) -> dict[str, float]:
    """Return the processor time of ``pid`` and all its descendants by kind; empty off Linux."""
    ticks = os.sysconf("SC_CLK_TCK")
    parent_of: dict[int, int] = {}
    spent: dict[int, float] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name in parentheses may hold blanks; what follows is plain.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(folder.name)
        parent_of[number] = int(fields[1])
        # With the children that have ended: PostgreSQL's workers come and go.
        spent[number] = sum(int(field) for field in fields[11:15]) / ticks
    found: dict[str, float] = defaultdict(float)
    for number, seconds in spent.items():
        if _is_below(number, pid, parent_of):
            found[_kind(number, pid)] += seconds
    return dict(found)


def per_call_ms(
    before: Mapping[str, float], after: Mapping[str, float], n_calls: int
) -> dict[str, float]:
    """Return each kind's milliseconds a call between two readings, the largest first."""
    spent = {kind: (after[kind] - before.get(kind, 0.0)) * 1000 / n_calls for kind in after}
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return {kind: round(ms, 3) for kind, ms in ranked if ms >= 0.001}


def _is_below(number: int, pid: int, parent_of: Mapping[int, int]) -> bool:
    while number != pid and number in parent_of:
        number = parent_of[number]
    return number == pid


def _kind(number: int, root: int) -> str:
    if number == root:
        return "local cloud"
    try:
        words = (_PROC / str(number) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "other"
    if "infra.local.environment" in words:
        return words[words.index("infra.local.environment") + 1].rpartition(".")[0]
    return "postgres" if "postgres" in words[0] else "other"
