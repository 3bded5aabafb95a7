"""What the replay needs of the control plane, and what it does when it is denied."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from infra.local.replay.__main__ import main
from infra.local.replay.driver import replay, run_replay
from infra.local.replay.journal import Decided, read_records
from infra.local.replay.pack import CHECKSUMS
from infra.local.replay.settings import ReplaySettings
from infra.local.replay.traffic import DATA_DIR

from .fake_system import PASSWORD, POLICY, FakeSystem

CHAT = "POST /v1/chat/completions"


@pytest.mark.parametrize(
    ("route", "status", "complaint"),
    [
        ("GET /health", "404", "/health: 404"),
        ("POST /api/models", "422", "cannot register replay/codegemma-7b"),
        ("POST /api/keys", "403", "cannot create an API key"),
        ("GET /api/policies", "403", "cannot read the policies"),
    ],
)
def test_what_it_cannot_do_without_ends_the_run_by_name(
    settings: ReplaySettings,
    system: FakeSystem,
    capsys: pytest.CaptureFixture[str],
    route: str,
    status: str,
    complaint: str,
) -> None:
    system.fault = lambda asked_route, _: status if asked_route == route else None
    assert run_replay(settings) == 1
    assert complaint in capsys.readouterr().out
    assert not system.decisions


def test_without_a_default_policy_there_are_no_weights(
    settings: ReplaySettings, system: FakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    system.policies = [POLICY | {"is_default": False}]
    assert run_replay(settings) == 1
    assert "no default policy" in capsys.readouterr().out


def test_a_default_policy_without_a_level_is_named(
    settings: ReplaySettings, system: FakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = {"L1": {"quality_value_usd": 1, "latency_cost_usd_per_s": 0}}
    system.policies = [POLICY | {"document": {"levels": levels}}]
    assert run_replay(settings) == 1
    assert "the default policy has no L2, L3, L4" in capsys.readouterr().out


def test_an_upstream_that_is_not_there_is_named(
    settings: ReplaySettings, system: FakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = replace(settings, provider_url="http://127.0.0.1:1/v1", patience_s=0.1)
    assert run_replay(nowhere) == 1
    assert "127.0.0.1:1/v1/models" in capsys.readouterr().out
    assert not system.models


def test_a_kept_key_that_is_refused_is_replaced(
    settings: ReplaySettings, system: FakeSystem
) -> None:
    kept = settings.home / "replay-key"
    kept.write_text("dv_stale\n")
    assert run_replay(replace(settings, requests=1)) == 0
    assert system.keys == {kept.read_text().strip()}
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_key_asks_for_more_than_an_ordinary_application_gets(
    settings: ReplaySettings, system: FakeSystem
) -> None:
    assert run_replay(replace(settings, requests=1)) == 0
    [asked] = [call.body for call in system.calls if call.path == "/api/keys"]
    assert asked["rpm"] == 60_000


def test_a_new_key_that_is_refused_as_well_ends_the_run(
    settings: ReplaySettings, system: FakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    system.fault = lambda route, _: "403" if route == CHAT else None
    assert run_replay(replace(settings, concurrency=1)) == 1
    assert "refuses a new API key: 403 not now" in capsys.readouterr().out


def test_a_server_error_is_not_asked_again_for_ever(
    settings: ReplaySettings, system: FakeSystem
) -> None:
    system.fault = lambda route, asked: "500" if route == CHAT and asked < 5 else None
    assert run_replay(replace(settings, requests=2, concurrency=1)) == 0
    assert len(system.decisions) == 1
    keys = [row.headers["idempotency-key"] for row in system.calls if "chat" in row.path]
    assert len(set(keys)) == 6  # each answered attempt had its own


def test_the_weights_follow_the_policy(settings: ReplaySettings, system: FakeSystem) -> None:
    system.delay_s = 0.05
    level = {"quality_value_usd": 9.0, "latency_cost_usd_per_s": 0.0}
    richer = POLICY | {"document": {"levels": dict.fromkeys(("L1", "L2", "L3", "L4"), level)}}

    def fault(route: str, asked: int) -> str | None:
        if route == CHAT and asked == 3:
            system.policies = [richer]
        return None

    system.fault = fault
    assert run_replay(replace(settings, weights_every_s=0.5, concurrency=3)) == 0
    records = read_records(settings.journal_path)
    values = [row.quality_value_usd for row in records if isinstance(row, Decided)]
    assert values[0] < 1
    assert values[-1] == 9.0


def test_a_stop_before_the_system_is_ready_ends_at_once(
    settings: ReplaySettings, system: FakeSystem
) -> None:
    system.unhealthy_for = 10_000

    async def stopped() -> object:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, stop.set)
        return await replay(settings, console=Console(file=io.StringIO()), stop=stop)

    assert asyncio.run(stopped()) is None
    assert not system.decisions


class TestCommandLine:
    def test_runs_and_verifies(
        self, settings: ReplaySettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environ = {
            "DAVINCI_ADMIN_PASSWORD": PASSWORD,
            "DAVINCI_HOME": str(settings.home),
            "DAVINCI_REPLAY": "off",  # is about make run, not about who asks for a replay
            "DAVINCI_REPLAY_PORT": str(settings.provider_port),
        }
        where = ["--public-url", settings.public_url]
        assert main(["run", "--requests", "5", *where], environ) == 0
        assert "The same 5 requests" in capsys.readouterr().out
        assert main(["verify", *where], environ) == 0
        assert "exactly once" in capsys.readouterr().out

    def test_a_setting_that_makes_no_sense_is_an_error_of_use(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run"], {"DAVINCI_PORT": "http"}) == 2
        assert "DAVINCI_PORT" in capsys.readouterr().err

    def test_packs_the_recordings(self, tmp_path: Path) -> None:
        assert main(["pack", str(DATA_DIR), "--target", str(tmp_path)], {}) == 0
        assert (tmp_path / CHECKSUMS).read_bytes() == (DATA_DIR / CHECKSUMS).read_bytes()
