"""The breaker's state machine against a clock."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers.circuit import (
    FAILURES,
    OPEN_TIMES,
    WINDOW_S,
    Circuits,
    after_failure,
    family_of,
    from_document,
    open_until,
    to_document,
)
from shared.providers.failures import RETRYABLE, ErrorClass, UpstreamCallError

NOW = 1_000_000.0


def error(
    error_class: ErrorClass, status: int | None = None, retry_after_s: float | None = None
) -> UpstreamCallError:
    return UpstreamCallError(error_class, "failed", status=status, retry_after_s=retry_after_s)


def fail(
    circuits: Circuits, error_class: ErrorClass, now: float, *, probe: bool = False,
    status: int | None = None, retry_after_s: float | None = None,
) -> Circuits:  # fmt: skip
    failure = error(error_class, status, retry_after_s)
    return after_failure(circuits, failure, now, was_probe=probe)


def failed_times(
    count: int, error_class: ErrorClass = "upstream-5xx", step_s: float = 1.0
) -> Circuits:
    circuits: Circuits = {}
    for number in range(count):
        circuits = fail(circuits, error_class, NOW + number * step_s)
    return circuits


def test_it_opens_at_the_last_of_so_many_failures_in_a_row() -> None:
    assert open_until(failed_times(FAILURES - 1)) is None
    opened_at = NOW + FAILURES - 1
    assert open_until(failed_times(FAILURES)) == opened_at + OPEN_TIMES["availability"].first_s


def test_failures_far_apart_do_not_add_up() -> None:
    assert open_until(failed_times(3 * FAILURES, step_s=WINDOW_S / (FAILURES - 2))) is None


def test_families_are_counted_apart() -> None:
    circuits = failed_times(FAILURES - 1)
    for _ in range(FAILURES - 1):
        circuits = fail(circuits, "rate-limited", NOW)
    assert open_until(circuits) is None


@pytest.mark.parametrize("error_class", ["rejected", "content-filter", "breaker-open"])
def test_what_says_nothing_of_the_model_never_counts(error_class: ErrorClass) -> None:
    assert failed_times(100, error_class) == {}


def test_every_other_class_counts_for_a_family() -> None:
    assert all(family_of(name) for name in RETRYABLE - {"breaker-open"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error_class", "status"), [("secret", None), ("auth", 401), ("auth", 402)]
)
def test_a_bad_key_opens_at_once_and_for_long(error_class: ErrorClass, status: int | None) -> None:
    circuits = fail({}, error_class, NOW, status=status)
    assert open_until(circuits) == NOW + OPEN_TIMES["auth"].first_s
    assert OPEN_TIMES["auth"].first_s > OPEN_TIMES["availability"].first_s


@pytest.mark.parametrize("status", [403, 404])
def test_one_forbidden_request_proves_nothing(status: int) -> None:
    assert open_until(fail({}, "auth", NOW, status=status)) is None


def test_retry_after_is_the_open_time() -> None:
    assert open_until(fail({}, "rate-limited", NOW, retry_after_s=17.0)) == NOW + 17.0
    assert open_until(fail({}, "rate-limited", NOW)) is None
    # A provider that asks for years gets ten minutes.
    assert open_until(fail({}, "rate-limited", NOW, retry_after_s=1e9)) == NOW + 600.0


def test_calls_that_were_under_way_change_nothing_when_it_is_open() -> None:
    circuits = failed_times(FAILURES)
    assert fail(circuits, "upstream-5xx", NOW + 6.0) == circuits
    assert fail(circuits, "upstream-5xx", NOW + 1_000.0) == circuits


def test_another_family_may_open_meanwhile() -> None:
    circuits = fail(failed_times(FAILURES), "auth", NOW + 5.0, status=401)
    assert open_until(circuits) == NOW + 5.0 + OPEN_TIMES["auth"].first_s


@given(st.integers(1, 200))
def test_failed_probes_double_the_open_time_up_to_its_longest(probes: int) -> None:
    circuits, times = failed_times(FAILURES), OPEN_TIMES["availability"]
    for number in range(1, probes + 1):
        due = open_until(circuits)
        assert due is not None
        circuits = fail(circuits, "connect", due, probe=True)
        reopened = open_until(circuits)
        expected_s = min(times.first_s * 2 ** min(number, 60), times.longest_s)
        assert reopened == pytest.approx(due + expected_s)


_CLASSES: list[ErrorClass] = ["upstream-5xx", "cut", "rate-limited", "auth", "rejected"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(_CLASSES),
            st.floats(0, 100),
            st.booleans(),
            st.one_of(st.none(), st.floats(0, 1e4)),
        ),
        max_size=40,
    )
)
def test_whatever_fails_it_is_never_open_longer_than_ten_minutes_and_survives_the_table(
    steps: list[tuple[ErrorClass, float, bool, float | None]],
) -> None:
    circuits: Circuits = {}
    now = NOW
    for error_class, wait_s, probe, retry_after_s in steps:
        now += wait_s
        before = open_until(circuits)
        circuits = fail(circuits, error_class, now, probe=probe, retry_after_s=retry_after_s)
        until = open_until(circuits)
        # Once open it closes by a success alone, which forgets everything.
        assert before is None or until is not None
        assert until is None or until <= max(now, before or 0.0) + 600.0
        assert from_document(json.loads(json.dumps(to_document(circuits)))) == circuits
