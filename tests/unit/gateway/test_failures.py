"""What a client reads of what went wrong upstream."""

from __future__ import annotations

import pytest

from functions.gateway.errors import RejectedByProviderError
from functions.gateway.failures import failure_of, in_band_error
from shared.providers.failures import ErrorClass, UpstreamCallError


@pytest.mark.parametrize(
    ("classes", "status", "code"),
    [
        (["upstream-5xx"], 502, "upstream-failed"),
        (["connect", "cut"], 502, "upstream-failed"),
        (["rate-limited", "upstream-5xx"], 502, "upstream-failed"),
        (["rate-limited"], 429, "rate-limit-exceeded"),
        (["breaker-open", "rate-limited"], 429, "rate-limit-exceeded"),
        (["timeout"], 504, "upstream-timeout"),
        (["first-byte-timeout", "timeout", "breaker-open"], 504, "upstream-timeout"),
        (["timeout", "cut"], 502, "upstream-failed"),
        (["breaker-open", "breaker-open"], 503, "models-unavailable"),
        (["rejected"], 400, "rejected-by-provider"),
        (["upstream-5xx", "rejected"], 400, "rejected-by-provider"),
        (["content-filter"], 400, "content-filter"),
    ],
)
def test_the_status_follows_from_all_failures(
    classes: list[ErrorClass], status: int, code: str
) -> None:
    error = failure_of([UpstreamCallError(c, "failed") for c in classes], {"a": "b"})
    assert (error.status, error.code) == (status, code)
    assert error.headers["a"] == "b"


def test_the_soonest_wait_is_passed_on() -> None:
    failures = [
        UpstreamCallError("rate-limited", "answered 429", retry_after_s=30.0),
        UpstreamCallError("rate-limited", "answered 429", retry_after_s=2.2),
        UpstreamCallError("rate-limited", "answered 429"),
    ]
    assert failure_of(failures, {}).headers["Retry-After"] == "3"
    assert "Retry-After" not in failure_of(failures[2:], {}).headers


def test_the_providers_own_words_are_kept() -> None:
    said = {"message": "Too long.", "code": "context_length_exceeded", "param": "messages"}
    error = failure_of(
        [UpstreamCallError("rejected", "answered 400", status=400, body={"error": said})], {}
    )
    assert isinstance(error, RejectedByProviderError)
    assert error.said == said and "Too long." in error.detail


def test_a_provider_that_repeats_its_key_gives_it_to_nobody() -> None:
    said = {"message": "Wrong: sk-secret-1.", "code": "sk-secret-1", "n": 7}
    error = failure_of(
        [UpstreamCallError("rejected", "answered 400", body={"error": said})], {},
        ["", "sk-secret-1"],
    )  # fmt: skip
    assert isinstance(error, RejectedByProviderError)
    assert "sk-secret-1" not in f"{error.said} {error.detail}"
    assert "Wrong: [key]." in error.detail


@pytest.mark.parametrize("body", [None, {"error": "text"}, {"error": None}, {"error": []}])
def test_a_provider_that_says_nothing_proper_is_described(body: dict[str, object] | None) -> None:
    error = failure_of([UpstreamCallError("rejected", "answered 422", body=body)], {})
    assert isinstance(error, RejectedByProviderError)
    assert error.said is None and "answered 422" in error.detail


@pytest.mark.parametrize(
    ("error_class", "kind", "code"),
    [
        ("cut", "api_error", "upstream_failed"),
        ("idle-timeout", "api_error", "upstream_timeout"),
        ("rate-limited", "rate_limit_error", "rate_limit_exceeded"),
    ],
)
def test_a_broken_stream_ends_in_openais_error_object(
    error_class: str, kind: str, code: str
) -> None:
    error = in_band_error(error_class, "broke off")["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert "broke off" in error["message"]
