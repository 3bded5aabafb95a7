"""Journal records for tests."""

from __future__ import annotations

from infra.local.replay.journal import Decided, Judged, Refused

AT = "2026-01-01T00:00:00.000+00:00"


def make_decided(
    sequence: int = 0,
    *,
    row: str = "a",
    task: str = "trivia_qa",
    recorded_level: str = "L1",
    level: str = "L1",
    model: str = "replay/small-7b",
    quality: float | None = 1.0,
    cost_usd: float | None = 0.00003,
    wall_ms: float = 12.5,
    attempts: int = 1,
    decision_id: str | None = None,
) -> Decided:
    return Decided(
        sequence=sequence,
        row=row,
        task=task,
        recorded_level=recorded_level,
        decision_id=decision_id or f"dec_01890000-0000-7000-8000-{sequence:012d}",
        model=model,
        level=level,
        cost_usd=cost_usd,
        wall_ms=wall_ms,
        attempts=attempts,
        latency_ms=2000,
        quality=quality,
        quality_value_usd=0.01,
        latency_cost_usd_per_s=0.0,
        utility_usd=None,
        at=AT,
    )


def make_judged(decided: Decided) -> Judged:
    assert decided.quality is not None
    return Judged(decided.sequence, decided.decision_id, decided.quality, AT)


def make_refused(sequence: int, *, stage: str = "chat", decision_id: str | None = None) -> Refused:
    return Refused(sequence, stage, 400, "no", decision_id, AT)
