"""What the check calls a difference."""

from __future__ import annotations

from infra.local.replay.journal import Decided, Record
from infra.local.replay.verify import Held, compare

from .records import make_decided, make_judged, make_refused

DECIDED: list[Decided] = [make_decided(sequence) for sequence in range(4)]
IDS = [record.decision_id for record in DECIDED]
RECORDS: list[Record] = [*DECIDED, *map(make_judged, DECIDED[:3])]


def held(
    decisions: dict[str, int] | None = None,
    outcomes: dict[str, int] | None = None,
    feedback: dict[str, int] | None = None,
) -> Held:
    """Everything exactly once, but for what is given."""
    return Held(
        dict.fromkeys(IDS, 1) | (decisions or {}),
        dict.fromkeys(IDS, 1) | (outcomes or {}),
        dict.fromkeys(IDS[:3], 1) | (feedback or {}),
    )


def test_everything_once_is_clean() -> None:
    report = compare(RECORDS, held())
    assert report.is_clean
    assert (report.decisions, report.feedback) == (4, 3)


def test_what_the_system_holds_beyond_the_journal_is_no_difference() -> None:
    other = "dec_01890000-0000-7000-8000-00000000ffff"
    assert compare(RECORDS, held({other: 1}, {other: 1}, {IDS[3]: 1})).is_clean


def test_what_is_missing_is_named() -> None:
    report = compare(RECORDS, held({IDS[0]: 0}, {IDS[1]: 0}, {IDS[2]: 0}))
    assert not report.is_clean
    assert report.missing_decisions == [IDS[0]]
    assert report.missing_outcomes == [IDS[1]]
    assert report.missing_feedback == [IDS[2]]


def test_what_is_doubled_is_named() -> None:
    report = compare(RECORDS, held({IDS[0]: 2}, {IDS[1]: 2}, {IDS[2]: 2}))
    assert report.doubled_decisions == [IDS[0]]
    assert report.doubled_outcomes == [IDS[1]]
    assert report.doubled_feedback == [IDS[2]]


def test_one_decision_for_two_requests_is_a_difference() -> None:
    twice = make_decided(9, decision_id=IDS[0])
    report = compare([*RECORDS, twice], held())
    assert report.journal_repeats == [IDS[0]]
    assert not report.is_clean


def test_refused_feedback_is_not_expected() -> None:
    refused = make_refused(3, stage="feedback", decision_id=IDS[3])
    assert compare([*RECORDS, refused], held()).is_clean
