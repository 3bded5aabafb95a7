"""How long the driver waits, and what it reads from a refusal."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import httpx
import pytest

from infra.local.replay.calls import Backoff, problem, retry_after_s

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("Thu, 01 Jan 2026 12:00:10 GMT", 10.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers({"retry-after": text}), NOW) == seconds


def test_the_wait_grows_up_to_a_cap_and_is_never_shorter_than_asked() -> None:
    backoff = Backoff(first_s=0.2, rng=Random(1))
    for attempt in range(1, 40):
        assert 0.0 <= backoff.delay_s(attempt, None) <= min(5.0, 0.2 * 2 ** (attempt - 1))
    assert 7.0 <= backoff.delay_s(1, 7.0) <= 7.2


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (httpx.Response(404, json={"title": "Not found", "detail": "No model"}), "404 No model"),
        (httpx.Response(400, json={"error": {"message": "n must be 1"}}), "400 n must be 1"),
        (httpx.Response(502, text="bad gateway"), "502 bad gateway"),
        (httpx.Response(503), "503"),
    ],
)
def test_a_problem_is_one_line_in_either_dialect(response: httpx.Response, text: str) -> None:
    assert problem(response) == text
