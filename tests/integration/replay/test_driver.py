"""The driver against a system that is slow, forgetful and rude."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from infra.local.replay.driver import run_replay
from infra.local.replay.journal import Refused, read_records
from infra.local.replay.settings import ReplaySettings
from infra.local.replay.traffic import Traffic

from .driving import CHAT, FEEDBACK, assert_exactly_once, decided, run
from .fake_system import FakeSystem


class TestFirstRun:
    def test_every_request_is_acknowledged_and_judged_once(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        outcome = run(settings)
        assert outcome.is_complete
        assert (outcome.summary.requests, outcome.summary.feedback_acknowledged) == (60, 60)
        assert_exactly_once(settings, system, 60)
        assert len(system.decisions) == 60

    def test_feedback_is_the_recorded_quality_of_the_model_that_answered(
        self, settings: ReplaySettings, system: FakeSystem, traffic: Traffic
    ) -> None:
        run(settings)
        for made in system.decisions.values():
            row, index = traffic.row_of_prompt(made["prompt"]), traffic.model_index(made["model"])
            assert row is not None
            assert index is not None
            assert system.scores[made["decision_id"]] == row.quality[index]
            assert made["task"] == row.task

    def test_all_four_levels_are_sent(self, settings: ReplaySettings) -> None:
        run(settings)
        assert {row.recorded_level for row in decided(settings)} == {"L1", "L2", "L3", "L4"}

    def test_the_journal_holds_the_weights_and_the_utility(self, settings: ReplaySettings) -> None:
        run(settings)
        for row in decided(settings):
            assert row.latency_ms is not None
            assert row.quality is not None
            assert row.quality_value_usd in {0.002, 0.004, 0.01, 0.02}
            expected = (
                row.quality * row.quality_value_usd - 0.0000456 - row.latency_ms / 1000 * 0.0001
            )
            assert row.utility_usd == pytest.approx(expected)

    def test_the_key_is_kept_for_its_owner_alone_and_used_again(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        run(settings)
        kept = settings.home / "replay-key"
        assert kept.read_text().strip() in system.keys
        assert kept.stat().st_mode & 0o777 == 0o600
        run(settings)
        assert len(system.keys) == 1

    def test_it_sends_no_faster_than_it_is_told(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        started_at = time.monotonic()
        run(replace(settings, requests=21, per_second=40))
        assert time.monotonic() - started_at >= 0.5  # the 21st is due half a second after the first
        assert len(system.decisions) == 21

    def test_it_waits_for_health(self, settings: ReplaySettings, system: FakeSystem) -> None:
        system.unhealthy_for = 3
        run(replace(settings, requests=1))
        assert system.paths("GET").count("/health") == 4

    def test_nothing_is_sent_when_replay_is_off(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        assert run_replay(replace(settings, mode="off")) == 0
        assert system.calls == []

    def test_json_is_alone_on_stdout(
        self, settings: ReplaySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_replay(replace(settings, json=True)) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["batch"] == {"requests": 60, "done": 60}
        assert found["requests"] == 60
        assert sum(row["requests"] for row in found["levels"].values()) == 60


class TestModels:
    def test_registers_every_recorded_model_at_its_upstream(
        self, settings: ReplaySettings, system: FakeSystem, traffic: Traffic, provider_url: str
    ) -> None:
        run(replace(settings, requests=1))
        assert set(system.models) == {model.id for model in traffic.models}
        model = system.models["replay/qwen2.5-7b-instruct"]
        assert model["base_url"] == provider_url
        assert model["upstream_name"] == "qwen2.5-7b-instruct"
        assert model["latency_source"] == "reported"
        assert model["labels"] == {"latency": "simulated"}

    def test_a_moved_upstream_is_patched_and_nothing_else(
        self, settings: ReplaySettings, system: FakeSystem, provider_url: str
    ) -> None:
        run(replace(settings, requests=1))
        moved = system.models["replay/codegemma-7b"]
        moved |= {"base_url": "http://127.0.0.1:1/v1", "input_usd_per_mtok": 9.0}
        run(replace(settings, requests=1))
        assert moved["base_url"] == provider_url
        assert moved["input_usd_per_mtok"] == 9.0
        assert system.paths("PATCH") == ["/api/models/replay/codegemma-7b"]

    def test_a_concurrent_edit_is_looked_at_again(
        self, settings: ReplaySettings, system: FakeSystem, provider_url: str
    ) -> None:
        run(replace(settings, requests=1))
        system.models["replay/codegemma-7b"]["base_url"] = "http://127.0.0.1:1/v1"
        patch = "PATCH /api/models/replay/codegemma-7b"
        system.fault = lambda route, asked: "412" if route == patch and asked == 0 else None
        run(replace(settings, requests=1))
        assert system.models["replay/codegemma-7b"]["base_url"] == provider_url

    def test_a_model_that_is_not_recorded_gets_no_feedback(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.pinned_model = "openai/gpt-4o"
        outcome = run(replace(settings, requests=3))
        assert outcome.is_complete
        assert (outcome.summary.not_recorded, outcome.summary.comparison) == (3, None)
        assert not system.feedback


class TestFaults:
    def test_busy_answers_are_retried_and_retry_after_is_honoured(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        def fault(route: str, asked: int) -> str | None:
            if route == CHAT and asked % 5 == 1:
                return "503 0"
            if route == FEEDBACK and asked == 7:
                return "429 1"
            return None

        system.fault = fault
        started = time.monotonic()
        outcome = run(settings)
        assert time.monotonic() - started >= 1.0
        attempts = [row.attempts for row in decided(settings)]
        assert sum(attempts) == system.asked[CHAT] > 60
        assert outcome.summary.retried == sum(number > 1 for number in attempts)
        assert_exactly_once(settings, system, 60)

    @pytest.mark.parametrize("idempotent", [True, False])
    def test_lost_requests_and_lost_responses_lose_nothing_acknowledged(
        self, settings: ReplaySettings, system: FakeSystem, idempotent: bool
    ) -> None:
        system.idempotent = idempotent

        def fault(route: str, asked: int) -> str | None:
            if route in {CHAT, FEEDBACK} and asked % 4 == 1:
                return "drop_after" if asked % 8 == 1 else "drop_before"
            return None

        system.fault = fault
        run(settings)
        assert_exactly_once(settings, system, 60)
        lost = len(system.decisions) - 60
        # With idempotency keys a lost answer is asked for again; without, it is decided again.
        assert lost == 0 if idempotent else lost > 0

    def test_an_answer_in_flight_is_asked_for_with_the_same_key(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.fault = lambda route, asked: "409" if route == CHAT and asked < 3 else None
        run(replace(settings, requests=1, concurrency=1))
        keys = [row.headers["idempotency-key"] for row in system.calls if "chat" in row.path]
        assert len(keys) == 4
        assert len(set(keys)) == 1

    def test_a_refused_key_is_replaced_once_for_all_workers(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        def fault(route: str, asked: int) -> str | None:
            if route == CHAT and asked == 20:
                system.keys.clear()
            return None

        system.fault = fault
        outcome = run(settings)
        assert outcome.is_complete
        assert system.paths("POST").count("/api/keys") == 2
        assert (settings.home / "replay-key").read_text().strip() in system.keys
        assert_exactly_once(settings, system, 60)

    def test_an_expired_session_is_renewed(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        def fault(route: str, asked: int) -> str | None:
            if route == "POST /api/models" and asked == 4:
                system.tokens.clear()
            return None

        system.fault = fault
        assert run(replace(settings, requests=1)).is_complete
        assert system.paths("POST").count("/api/auth/login") == 2

    def test_single_refusals_are_kept_and_not_sent_again(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.fault = lambda route, asked: "422" if route == CHAT and asked == 10 else None
        outcome = run(settings)
        assert outcome.is_complete
        assert (outcome.summary.requests, outcome.summary.refused) == (59, 1)
        refused = [row for row in read_records(settings.journal_path) if isinstance(row, Refused)]
        assert [(row.stage, row.status, row.detail) for row in refused] == [
            ("chat", 422, "422 not now")
        ]

    @pytest.mark.parametrize("route", [CHAT, FEEDBACK])
    def test_refusal_after_refusal_ends_the_run_with_the_reason(
        self, settings: ReplaySettings, system: FakeSystem, route: str
    ) -> None:
        system.fault = lambda asked_route, _: "422" if asked_route == route else None
        assert run_replay(settings) == 1
        assert len(decided(settings)) < 20

    def test_a_wrong_password_ends_the_run_with_the_reason(
        self, settings: ReplaySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_replay(replace(settings, admin_password="wrong")) == 1
        assert "cannot log in as admin@davinci.local" in capsys.readouterr().out

    def test_a_system_that_is_not_there_ends_the_run_within_the_patience(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.stop()
        started = time.monotonic()
        assert run_replay(replace(settings, patience_s=0.3)) == 1
        assert time.monotonic() - started < 3

    def test_a_restart_of_the_system_is_sat_out(
        self, settings: ReplaySettings, system: FakeSystem
    ) -> None:
        system.delay_s = 0.005

        def restart() -> None:
            while len(system.decisions) < 20:
                time.sleep(0.005)
            system.stop()
            time.sleep(0.3)
            system.start()

        restarting = threading.Thread(target=restart)
        restarting.start()
        outcome = run(settings)
        restarting.join()
        assert outcome.is_complete
        assert_exactly_once(settings, system, 60)
