"""Rows of the README's table, the machine they were measured on, and where the table stands."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

START, END = "<!-- bench:start -->", "<!-- bench:end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure; ``is_met`` None: there is no target to meet."""

    what: str
    measured: str
    target: str = ""
    is_met: bool | None = None


def render(rows: Iterable[Row], machine: str) -> str:
    """Return the table in Markdown, below a line that names the machine."""
    lines = [
        f"Measured with `make bench` on {machine}.",
        "",
        "| What | Measured | Target |",
        "|---|---|---|",
    ]
    lines += [
        f"| {_cell(row.what)} | {_cell(row.measured)} | {_cell(row.target)}{_verdict(row)} |"
        for row in rows
    ]
    return "\n".join(lines)


def describe_machine(today: date, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor, its cores, Python's version and the date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cpu_model(cpuinfo)}, {cores} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {today.isoformat()}"
    )


def cpu_model(cpuinfo: Path) -> str:
    """Return the processor's name as Linux gives it, else what Python knows."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def replace_between_markers(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the markers.

    Raises
    ------
    ValueError
        Unless each marker stands there once, in order.
    """
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end or START in rest or END in tail:
        raise ValueError(f"the README needs {START} and then {END}, once each")
    return f"{head}{START}\n{table}\n{END}{tail}"


def write_table(readme: Path, rows: Sequence[Row], machine: str) -> None:
    """Write the table between the markers of ``readme``."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(replace_between_markers(text, render(rows, machine)), encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _verdict(row: Row) -> str:
    if row.is_met is None:
        return ""
    return " (met)" if row.is_met else " (**missed**)"
