"""The driver goes on where it stopped, and trickles when it is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.replay.driver import run_replay
from infra.local.replay.journal import Opened, read_records
from infra.local.replay.settings import ReplaySettings
from infra.local.replay.traffic import Traffic

from .driving import CHAT, FEEDBACK, assert_exactly_once, decided, judged, run
from .fake_system import FakeSystem, no_fault


class TestResume:
    def test_feedback_that_is_owed_comes_before_anything_new(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.fault = lambda route, asked: "503" if route == FEEDBACK and asked >= 20 else None
        assert run_replay(replace(settings, patience_s=0.2)) == 1
        owed = {row.decision_id for row in decided(settings)}
        owed -= {row.decision_id for row in judged(settings)}
        assert owed

        system.fault = no_fault
        system.calls.clear()
        assert run(settings).is_complete
        sent = [row for row in system.calls if row.path in {CHAT[5:], FEEDBACK[5:]}]
        first = {row.body.get("decision_id") for row in sent[: len(owed)]}
        assert first == owed
        assert_exactly_once(settings, system, 60)

    def test_an_interrupted_batch_is_finished_before_a_new_one_begins(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.fault = lambda route, asked: "503" if route == CHAT and asked >= 25 else None
        assert run_replay(replace(settings, patience_s=0.2)) == 1
        system.fault = no_fault
        assert run(settings).summary.requests == 60
        assert run(settings).summary.requests == 120
        assert_exactly_once(settings, system, 120)

    def test_a_finished_batch_is_not_prolonged_by_a_larger_one(
        self, settings: ReplaySettings
    ) -> None:
        run(replace(settings, requests=10))
        assert run(replace(settings, requests=30)).summary.requests == 40

    def test_a_stop_lets_requests_in_flight_finish(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.delay_s = 0.02

        outcome = run(settings, stop_at=10, system=system)
        assert not outcome.is_complete
        assert len(decided(settings)) == len(judged(settings)) == len(system.decisions)
        assert run(settings).is_complete
        assert_exactly_once(settings, system, 60)

    def test_a_torn_last_line_costs_nothing(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        run(replace(settings, requests=30))
        content = settings.journal_path.read_bytes()
        settings.journal_path.write_bytes(content[:-20])
        run(replace(settings, requests=30))
        made = decided(settings)
        assert sorted(row.sequence for row in made) == list(range(60))
        assert len(judged(settings)) == 60
        assert set(Counter(system.feedback.values())) == {1}

    def test_a_journal_of_other_recordings_is_refused(
        self, settings: ReplaySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(replace(settings, requests=1))
        opened = read_records(settings.journal_path)[0]
        assert isinstance(opened, Opened)
        text = settings.journal_path.read_text()
        settings.journal_path.write_text(text.replace(opened.traffic_sha256, "0" * 64))
        assert run_replay(settings) == 1
        assert "other recordings" in capsys.readouterr().out

    def test_the_journal_keeps_its_seed(self, settings: ReplaySettings, traffic: Traffic) -> None:
        run(replace(settings, requests=5))
        run(replace(settings, requests=5, seed=99))
        rows = {row.sequence: row.row for row in decided(settings)}
        assert rows == {n: traffic.at(n, settings.seed).id for n in range(10)}


class TestTrickle:
    def test_goes_on_slowly_until_stopped(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        slow = replace(settings, mode="on", requests=10, trickle_s=0.05)
        outcome = run(slow, stop_at=13, system=system)
        assert outcome.is_complete
        assert outcome.summary.requests == 10  # the summary is of the batch's end
        assert_exactly_once(settings, system, len(system.decisions))

    def test_trickled_requests_do_not_shorten_the_next_batch(
        self, settings: ReplaySettings, system: FakeSystem, tmp_path: Path
    ) -> None:
        self.test_goes_on_slowly_until_stopped(settings, system)
        before = len(system.decisions)
        assert run(replace(settings, requests=10)).summary.requests == before + 10
        assert tmp_path == settings.home
