"""Decide, hold the money, send the decision to be written: all that comes before a model's call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from functions.gateway.asking import Ask
from functions.gateway.door import Payer, Visit
from functions.gateway.errors import BudgetExceededError, InvalidValueError
from shared.db.engine import single_statement
from shared.decisions.context import with_affinity
from shared.decisions.recorder import (
    Recorded,
    begin_to_record,
    make_decision,
    record_decision,
)
from shared.decisions.snapshot import World
from shared.errors import DatabaseUnavailableError, FieldError, InvalidInputError
from shared.limits import Bucket, QuotaExceededError, admit, charge
from shared.providers.deadline import Deadline
from shared.providers.upstream import Upstream
from shared.routing.types import Constraints, ModelCard
from shared.spending.budgets import Budget, read_spend, reserve
from shared.spending.money import bound_nusd, to_usd

_MOST_MODELS = 4
# Between the deadline of a request and the instant from which it counts as lost: what writing its
# outcome may take.
_OUTCOME_SLACK_S = 30.0
_PERIODS = {"day": "day (UTC)", "month": "month (UTC)", "total": "lifetime"}


@dataclass(frozen=True, slots=True)
class Serving:
    """A decided request: its decision sent to be written, its money held, no model called yet."""

    ask: Ask
    payer: Payer
    recorded: Recorded
    cards: tuple[ModelCard, ...]
    """The chosen model and its fallbacks, in order."""
    upstreams: tuple[Upstream, ...]
    deadline: Deadline
    tokens_admitted: int
    """What the key's tokens per minute were charged beforehand."""
    until_recorded: Callable[[], object]
    """Waits until the decision is written, which may be on its way still."""

    def card(self, model: str) -> ModelCard:
        """Return the card of one of ``cards``."""
        return next(card for card in self.cards if card.id == model)

    def headers(self) -> dict[str, str]:
        """Return what is known of the decision, as headers."""
        policy = self.recorded.policy
        return {
            "x-davinci-decision-id": self.recorded.public_id,
            "x-davinci-policy": f"{policy.name}@{policy.version}",
            "x-davinci-level": self.recorded.decision.level,
        }


def decide_and_hold(visit: Visit, ask: Ask, world: World) -> Serving:
    """Choose a model for ``ask``, hold what it may cost, send the decision to be written.

    Raises
    ------
    NoEligibleModelProblemError
        If no model may serve this request.
    BudgetExceededError
        If the most it may cost does not fit into the key's budget.
    QuotaExceededError
        If the key's tokens per minute do not admit it.
    """
    door, payer, timing = visit.door, visit.payer, visit.timing
    total_s = min(visit.longest_s, ask.timeout_s or visit.longest_s)
    due_in_s = total_s + _OUTCOME_SLACK_S
    is_told_early = ask.is_streamed() or payer.budget is not None
    if is_told_early or payer.tpm is not None:
        # More than the decision depends on the admission.
        with timing.measure("db"):
            visit.admission.charge()
    with timing.measure("decide"):
        context, session = with_affinity(door.engine, door.settings, ask.context, ask.session)
        if payer.budget is not None:
            context = replace(context, constraints=_priced(world, ask))
        recorded = make_decision(
            world, context, door.settings, policy_name=ask.policy, requested_model=ask.model,
            caller=payer.id, labels=payer.labels, text=ask.kept_text, session=session,
        )  # fmt: skip
    chosen = (recorded.decision.model, *recorded.decision.fallbacks)[:_MOST_MODELS]
    by_id = {card.id: card for card in world.models}
    cards = tuple(by_id[model] for model in chosen)
    with timing.measure("db"):
        tokens = _admit_tokens(door.engine, payer, ask)
        try:
            if payer.budget is not None:
                _hold(door.engine, payer.budget, ask, cards, recorded.id, due_in_s)
        except BudgetExceededError:
            correct_tokens(door.engine, payer, tokens, 0)
            raise
        until_recorded = _begin_to_record(visit, recorded, due_in_s, is_told_early=is_told_early)
    return Serving(
        ask, payer, recorded, cards, tuple(world.upstreams[model] for model in chosen),
        Deadline.after(total_s), tokens, until_recorded,
    )  # fmt: skip


def _begin_to_record(
    visit: Visit, recorded: Recorded, due_in_s: float, *, is_told_early: bool
) -> Callable[[], object]:
    """Write the decision, and with it charge what the request was not charged yet; return what
    waits until it is written.

    Where nothing is to be charged, nothing that the database says could keep the model from being
    called; it is written meanwhile, once it has left this process, which may die.
    """
    engine, admission = visit.door.engine, visit.admission
    if is_told_early:
        record_decision(engine, recorded, due_in_s)
        return _recorded
    buckets = admission.buckets if admission.is_due else ()
    write = begin_to_record(engine, buckets, recorded, due_in_s)
    if not buckets and write.is_sent and not write.is_settled:
        return write.result
    try:
        verdict = write.result()
    except DatabaseUnavailableError:
        raise
    except (DBAPIError, InvalidInputError):
        # The failure of one has undone both; apart, each says its own.
        admission.charge()
        record_decision(engine, recorded, due_in_s)
    else:
        if verdict is not None:
            admission.charged(verdict)
    return _recorded


def _recorded() -> None:
    """Nothing is left to wait for."""


def correct_tokens(engine: sa.Engine, payer: Payer, admitted: int, used: int) -> None:
    """Charge the difference between the tokens that were admitted and those that were used."""
    if payer.tpm is not None and used != admitted:
        with single_statement(engine) as connection:
            charge(connection, _token_bucket(payer.id, payer.tpm, 0), used - admitted)


def _admit_tokens(engine: sa.Engine, payer: Payer, ask: Ask) -> int:
    """Charge the expected tokens: the prompt and the most that was asked for in answer. A request
    that expects more than a whole minute's tokens is admitted as if it expected just those.
    """
    if payer.tpm is None:
        return 0
    asked = ask.context.max_tokens_out if ask.writes else None
    tokens = min(payer.tpm, ask.context.tokens_in + (asked or 0) * ask.answers)
    with single_statement(engine) as connection:
        verdict = admit(connection, [_token_bucket(payer.id, payer.tpm, tokens)])
    if verdict.admitted:
        return tokens
    raise QuotaExceededError(verdict)


def _token_bucket(subject: str, tpm: int, cost: int) -> Bucket:
    return Bucket("tpm", subject, tpm, 60, cost)


def _priced(world: World, ask: Ask) -> Constraints:
    """Return the constraints without models whose price is unknown: what they cost cannot be held.

    Raises
    ------
    InvalidValueError
        If such a model is the one that was asked for.
    """
    limits = ask.context.constraints
    unpriced = {card.id for card in world.models if bound_nusd([card], 1, [1]) is None}
    if ask.model in unpriced:
        raise InvalidValueError(
            f"{ask.model!r} has no known price, so a key with a budget cannot use it.",
            errors=[FieldError("#/model", "price unknown")],
        )
    return replace(limits, models_denied=limits.models_denied | unpriced)


def _hold(
    engine: sa.Engine, budget: Budget, ask: Ask, cards: tuple[ModelCard, ...], decision_id: UUID,
    ttl_s: float,
) -> None:  # fmt: skip
    outs = [ask.most_tokens_out(card) for card in cards]
    # Models without a price are denied before (``_priced``), so there is one.
    most = bound_nusd(cards, ask.most_tokens_in, outs) or 0
    with single_statement(engine) as connection:
        if reserve(connection, decision_id, budget, most, ttl_s):
            return
        spent = read_spend(connection, {budget.subject: budget.window})[budget.subject]
    left = to_usd(max(0, budget.limit_nusd - spent.settled_nusd))
    raise BudgetExceededError(
        f"This key may spend ${to_usd(budget.limit_nusd):g} per {_PERIODS[budget.window]}; "
        f"${left:.6f} is left, ${to_usd(spent.reserved_nusd):.6f} of it held by requests in work, "
        f"and this request may cost up to ${to_usd(most):.6f}. A lower max_tokens holds less."
    )
