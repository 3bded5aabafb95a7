"""kill -9, anywhere, again and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from infra.local.replay.journal import Decided, Judged, read_records
from infra.local.replay.settings import ReplaySettings, VerifySettings
from infra.local.replay.verify import run_verify

from .fake_system import PASSWORD, FakeSystem

ROOT = Path(__file__).resolve().parents[3]
REQUESTS = 240


def start(settings: ReplaySettings) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        "DAVINCI_ADMIN_PASSWORD": PASSWORD,
        "DAVINCI_HOME": str(settings.home),
        "DAVINCI_REPLAY": "once",
        "DAVINCI_REPLAY_REQUESTS": str(REQUESTS),
        "DAVINCI_REPLAY_PORT": str(settings.provider_port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "infra.local.replay", "run", "--public-url", settings.public_url],
        cwd=ROOT, env=environ, stdout=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_driver_that_is_killed_loses_and_doubles_nothing_acknowledged(
    settings: ReplaySettings, system: FakeSystem, idempotent: bool
) -> None:
    system.idempotent = idempotent
    system.delay_s = 0.004
    rng = Random(11)
    kills = 0
    for _ in range(3):
        process = start(settings)
        enough = len(system.decisions) + rng.randint(20, 60)
        while len(system.decisions) < enough and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        kills += process.wait(10) < 0
    assert kills == 3
    assert start(settings).wait(120) == 0

    records = read_records(settings.journal_path)
    made = Counter(row.sequence for row in records if isinstance(row, Decided))
    assert made == Counter(range(REQUESTS))
    ids = {row.decision_id for row in records if isinstance(row, Decided)}
    assert len(ids) == REQUESTS
    assert {row.decision_id for row in records if isinstance(row, Judged)} == ids
    assert {name for name, _ in system.feedback} >= ids
    assert set(system.feedback.values()) == {1}
    if idempotent:
        assert len(system.decisions) == REQUESTS
    check = VerifySettings(
        public_url=system.url, home=settings.home, admin_password=PASSWORD, wait_s=0.0
    )
    assert run_verify(check) == 0


def test_an_interrupt_stops_it_in_good_order(settings: ReplaySettings, system: FakeSystem) -> None:
    system.delay_s = 0.004
    process = start(settings)
    while len(system.decisions) < 20:
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    assert process.wait(10) == 130
    records = read_records(settings.journal_path)
    made = [row for row in records if isinstance(row, Decided)]
    assert len(made) == len(system.decisions) < REQUESTS
    assert len([row for row in records if isinstance(row, Judged)]) == len(made)
