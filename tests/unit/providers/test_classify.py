"""Failures by class, as providers really tell them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.providers.classify import class_of_answer, is_out_of_quota
from shared.providers.failures import RETRYABLE

FILTERED_BY_AZURE = {
    "error": {
        "code": "content_filter",
        "status": 400,
        "message": "The response was filtered",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (400, {"error": {"type": "invalid_request_error"}}, "rejected"),
        (400, FILTERED_BY_AZURE, "content-filter"),
        (
            400,
            {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "content-filter",
        ),
        (400, {"error": {"message": "content_filter is no parameter"}}, "rejected"),
        (401, None, "auth"),
        (402, {"error": {"message": "Insufficient Balance"}}, "auth"),
        (403, None, "auth"),
        (404, {"error": {"code": "model_not_found"}}, "auth"),
        (404, None, "rejected"),
        (408, None, "timeout"),
        (409, None, "upstream-5xx"),
        (413, None, "rejected"),
        (422, None, "rejected"),
        (425, None, "upstream-5xx"),
        (429, {"error": {"code": "insufficient_quota"}}, "rate-limited"),
        (301, None, "upstream-5xx"),
        (500, None, "upstream-5xx"),
        (503, {"error": "down"}, "upstream-5xx"),
        (529, None, "upstream-5xx"),
        (200, {"error": {"code": 429}}, "rate-limited"),
        (200, {"error": {"message": "?"}}, "upstream-5xx"),
    ],
)
def test_class_of_an_answer(status: int, document: dict[str, Any] | None, expected: str) -> None:
    assert class_of_answer(status, document) == expected


def test_only_what_says_something_of_the_request_ends_the_attempts() -> None:
    assert "rejected" not in RETRYABLE and "content-filter" not in RETRYABLE
    assert "breaker-open" in RETRYABLE


def test_an_empty_account_is_no_rate() -> None:
    assert is_out_of_quota({"error": {"code": "insufficient_quota"}})
    assert not is_out_of_quota({"error": {"code": "rate_limit_exceeded"}})
    assert not is_out_of_quota(None)
