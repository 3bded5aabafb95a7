"""Ids sort by time and their bounds hold to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kit import ids

ZONES = [UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-11, minutes=-30))]
INSTANTS = st.datetimes(
    datetime(1970, 1, 1),  # the strategy adds the zone
    datetime(2200, 1, 1),
    timezones=st.sampled_from(ZONES),
)
MILLISECONDS = st.integers(0, 2**47)


@given(INSTANTS)
def test_a_bound_is_the_instant_to_the_millisecond(instant: datetime) -> None:
    since_epoch = instant - datetime(1970, 1, 1, tzinfo=UTC)
    exact = datetime(1970, 1, 1, tzinfo=UTC) + since_epoch // timedelta(milliseconds=1) * timedelta(
        milliseconds=1
    )
    if since_epoch >= timedelta():
        assert ids.instant_of(ids.floor_at(instant)) == exact


@given(MILLISECONDS, MILLISECONDS)
def test_ids_sort_by_the_instant_they_were_made(a: int, b: int) -> None:
    if a != b:
        assert (ids.uuid7(a) < ids.uuid7(b)) is (a < b)


@given(st.integers(0, 4_102_444_800_000))
def test_an_id_lies_within_the_bounds_of_its_millisecond(now_ms: int) -> None:
    value = ids.uuid7(now_ms)
    instant = ids.instant_of(value)
    assert ids.floor_at(instant) <= value < ids.floor_at(instant + timedelta(milliseconds=1))
    assert value.version == 7 and value.variant == "specified in RFC 4122"


@given(MILLISECONDS)
def test_text_and_back(now_ms: int) -> None:
    value = ids.uuid7(now_ms)
    assert ids.parse(ids.DECISION, ids.to_text(ids.DECISION, value)) == value


@given(st.text())
def test_other_text_is_no_id(text: str) -> None:
    with pytest.raises(ids.MalformedIdError):
        ids.parse(ids.DECISION, text)
    with pytest.raises(ids.MalformedIdError):
        ids.parse(ids.KEY, ids.to_text(ids.DECISION, ids.uuid7()))


@pytest.mark.parametrize(
    "tail", ["A" * 32, "\uff10" * 32, "0" * 31, "0" * 33, "0" * 31 + "_", " " + "0" * 31]
)
def test_hex_digits_are_lower_case_ascii_and_32(tail: str) -> None:
    with pytest.raises(ids.MalformedIdError):
        ids.parse(ids.DECISION, f"dec_{tail}")


@pytest.mark.parametrize("year", [1, 1969])
def test_the_bound_before_1970_is_the_smallest(year: int) -> None:
    assert ids.floor_at(datetime(year, 1, 1, tzinfo=UTC)).int == 0


def test_the_last_instant_has_a_bound() -> None:
    assert ids.floor_at(datetime.max.replace(tzinfo=UTC)).int < 2**128
