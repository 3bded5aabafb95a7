"""kill -9 of the whole process group loses nothing that was acknowledged, and doubles nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.system import System, free_ports


def test_what_was_acknowledged_survives_kill_9_exactly_once(tmp_path: Path) -> None:
    system = System(tmp_path / "home", free_ports(), requests=160)
    system.start()
    # Twice, at different depths: in the first decisions, and with feedback in flight.
    for acknowledged in (20, 150):
        system.wait(lambda n=acknowledged: system.acknowledged() >= n, "traffic")  # type: ignore[misc]
        system.kill_group()
        before = system.journal.read_bytes()
        system.start()
        whole_lines = before[: before.rfind(b"\n") + 1]  # the kill may have torn the last one
        assert system.journal.read_bytes().startswith(whole_lines)
    system.wait_for_replay()
    checked = system.command("verify", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)
    assert system.interrupt() == 0


def test_a_second_run_on_the_same_home_is_refused(tmp_path: Path) -> None:
    system = System(tmp_path / "home", free_ports(), requests=0, mode="off")
    system.start()
    second = System(system.home, free_ports(), requests=0, mode="off").command("run")
    assert second.returncode == 1
    assert "another Da Vinci runs" in second.stderr
    assert system.interrupt() == 0
