"""The dashboard in a real browser: Chromium drives web/e2e against the running system."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.system import PASSWORD, ROOT, System

CHROMIUM = Path("/usr/bin/chromium")


@pytest.mark.browser
def test_a_person_logs_in_and_sees_live_figures_in_both_languages(system: System) -> None:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is missing: apt-get install chromium fonts-noto-cjk")
    environment = {
        **os.environ,
        "DAVINCI_URL": system.url,
        "DAVINCI_ADMIN_PASSWORD": PASSWORD,
        "DAVINCI_IDLE": "1",  # the replay has finished: figures stand still
    }
    done = subprocess.run(
        ["npm", "--prefix", "web", "run", "--silent", "e2e"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
