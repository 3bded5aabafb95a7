from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from infra.bench.report import (
    END,
    START,
    Row,
    cpu_model,
    describe_machine,
    render,
    replace_between_markers,
    write_table,
)

ROWS = [Row("a|b", "2 ms", "<= 5 ms", is_met=True), Row("c", "9", "<= 5", is_met=False)]


def test_the_table_names_machine_target_and_verdict() -> None:
    assert render([*ROWS, Row("d", "1 s")], "Some CPU, 2 cores").splitlines() == [
        "Measured with `make bench` on Some CPU, 2 cores.",
        "",
        "| What | Measured | Target |",
        "|---|---|---|",
        "| a\\|b | 2 ms | <= 5 ms (met) |",
        "| c | 9 | <= 5 (**missed**) |",
        "| d | 1 s |  |",
    ]


def test_writing_twice_replaces_the_table_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{START}\nold\n{END}\n\nafter\n", encoding="utf-8")
    write_table(readme, ROWS, "first")
    write_table(readme, ROWS[:1], "second")
    table = render(ROWS[:1], "second")
    expected = f"# Title\n\n{START}\n{table}\n{END}\n\nafter\n"
    assert readme.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    "text",
    ["no markers", START, END, f"{END}{START}", f"{START}{END}{END}", f"{START}{START}{END}"],
)
def test_a_readme_without_the_two_markers_is_left_alone(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        replace_between_markers(text, "table")


def test_the_machine_is_named_by_processor_and_date(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast  CPU @ 3 GHz\nmodel name : Other\n")
    assert cpu_model(cpuinfo) == "Fast CPU @ 3 GHz"
    named = describe_machine(date(2026, 11, 22), cpuinfo)
    assert named.startswith("Fast CPU @ 3 GHz, ")
    assert named.endswith(", 2026-11-22")


def test_without_cpuinfo_the_machine_still_has_a_name(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "missing")
