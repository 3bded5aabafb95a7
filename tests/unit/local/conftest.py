"""Fixtures of the local cloud's unit tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.local.clock import VirtualClock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
