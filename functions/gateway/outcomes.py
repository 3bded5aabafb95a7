"""What serving did, written exactly once: outcome, event, and the money in one transaction.

The first writer wins: a request that ends, and the sweep that took it for lost, cannot both write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from functions.gateway import repository
from functions.gateway.admission import Serving, correct_tokens
from shared.db.engine import transaction
from shared.db.gathering import Gathering
from shared.errors import DatabaseUnavailableError
from shared.events.contracts import OutcomeRecordedV1
from shared.events.outbox import outbox_row
from shared.kit.clock import utc_now
from shared.kit.ids import DECISION, to_text
from shared.observability.logging import get_logger
from shared.spending.budgets import settle
from shared.spending.money import price_nusd, to_usd

CLIENT_CLOSED = "client-closed"
"""The caller left before the end of a stream: nobody's failure, and no success."""
LOST = "lost"
"""The process that served the request died; nobody knows what the model did."""
# Failures that say nothing of the model: it was not asked, or the request was at fault.
_NOT_THE_MODELS_FAULT = {"breaker-open", "rejected", "content-filter", CLIENT_CLOSED, LOST}

Story = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended. ``served_by`` is the model that answered, None if none did."""

    story: Story
    served_by: str | None = None
    error_class: str | None = None
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nusd: int | None = None
    text: dict[str, Any] | None = None

    @property
    def status(self) -> Literal["success", "error"]:
        return "success" if self.error_class is None else "error"

    @property
    def cost_usd(self) -> float | None:
        return None if self.cost_nusd is None else to_usd(self.cost_nusd)


@dataclass(frozen=True, slots=True)
class Decided:
    """What an outcome must know of its decision."""

    id: UUID
    level: str
    model: str
    policy_version_id: str
    track: Literal["stable", "canary", "shadow"]


@dataclass(slots=True)
class Ledger:
    """Writes a request's outcome, once."""

    engine: sa.Engine
    serving: Serving
    _is_begun: bool = field(default=False, init=False)

    def priced(self, model: str, tokens_in: int, tokens_out: int) -> int | None:
        """Return what so many tokens of ``model`` cost, in nano-dollars; None if unknown."""
        return price_nusd(self.serving.card(model), tokens_in, tokens_out)

    def write(self, ending: Ending) -> None:
        """Write the outcome and settle the money; a second call does nothing.

        Raises
        ------
        DatabaseUnavailableError
            If nothing could be written: the sweep takes the request for lost then.
        Exception
            If the decision could not be written.
        """
        if not self._is_begun:
            self.begin(ending)()

    def begin(self, ending: Ending) -> Callable[[], None]:
        """Begin to ``write``, once. Return what waits for the end and raises what ``write`` does;
        nobody is answered before.
        """
        self._is_begun = True
        self.serving.until_recorded()
        recorded, payer = self.serving.recorded, self.serving.payer
        decided = Decided(
            recorded.id, recorded.decision.level, recorded.decision.model, recorded.policy.id,
            recorded.row["track"],
        )  # fmt: skip
        entry = outcome_entry(decided, ending, utc_now())
        write = None
        if payer.budget is None:
            write = _outcomes_at(self.engine).begin(entry)
        else:
            with transaction(self.engine) as connection:
                repository.outcomes_call([entry]).within(connection)
                settle(connection, recorded.id, ending.cost_nusd or 0)

        def until_written() -> None:
            if write is not None:
                write.result()
            used = ending.tokens_in + ending.tokens_out
            try:
                correct_tokens(self.engine, payer, self.serving.tokens_admitted, used)
            except DatabaseUnavailableError:
                # The outcome stands; the bucket refills within a minute anyhow.
                get_logger().warning("tokens per minute were not corrected")

        return until_written


@lru_cache(maxsize=1)
def _outcomes_at(engine: sa.Engine) -> Gathering[str, None]:
    def write(entries: Sequence[str], on_sent: Callable[[], None]) -> list[None]:
        repository.outcomes_call(entries).alone(engine, on_sent)
        return [None] * len(entries)

    return Gathering(write)


def outcome_entry(decided: Decided, ending: Ending, now: datetime) -> str:
    """Return an outcome and its event as ``repository.outcomes_call`` takes them."""
    last = ending.served_by or (ending.story[-1]["model"] if ending.story else decided.model)
    event = OutcomeRecordedV1(
        decision_id=to_text(DECISION, decided.id),
        level=decided.level,
        model=decided.model,
        policy_version_id=decided.policy_version_id,
        track=decided.track,
        served_by=last,
        failed=_failed(ending),
        status=ending.status,
        error_class=ending.error_class,
        latency_ms=ending.latency_ms,
        tokens_in=ending.tokens_in,
        tokens_out=ending.tokens_out,
        cost_usd=ending.cost_usd,
    )
    outcome = {
        "decision_id": decided.id,
        "created_at": now,
        "status": ending.status,
        "model": last,
        "error_class": ending.error_class,
        "latency_ms": ending.latency_ms,
        "tokens_in": ending.tokens_in,
        "tokens_out": ending.tokens_out,
        "cost_usd": ending.cost_usd,
        "attempts": list(ending.story),
        "text": ending.text,
    }
    return repository.outcome_entry(outcome, outbox_row(event, now))


def _failed(ending: Ending) -> list[str]:
    """Return the models that were tried and failed, each once: what the learner holds against
    them. One whose retry served has not failed.
    """
    served = ending.served_by if ending.status == "success" else None
    found = {
        attempt["model"]: None
        for attempt in ending.story
        if attempt["error_class"] is not None
        and attempt["error_class"] not in _NOT_THE_MODELS_FAULT
    }
    return [model for model in found if model != served]
