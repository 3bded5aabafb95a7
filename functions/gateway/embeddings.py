"""Serve embeddings: passed through, decided, recorded and paid for like a chat completion.

Vectors of two models cannot be compared, so nothing here is a choice between models and nothing
falls back: ``auto`` is the one enabled model for embeddings, and an error where there are several.
"""

from __future__ import annotations

from dataclasses import replace

from functions.gateway.admission import decide_and_hold
from functions.gateway.asking import EMBEDDINGS, Ask
from functions.gateway.chat import Served, deliver, served_with
from functions.gateway.door import Visit
from functions.gateway.errors import InvalidValueError, ModelNotFoundError
from functions.gateway.outcomes import Ending, Ledger
from shared.decisions.snapshot import World
from shared.errors import FieldError
from shared.providers.deadline import Deadline
from shared.providers.embeddings import EmbeddingsAnswer, create_embeddings
from shared.providers.upstream import Upstream


def serve_embeddings(visit: Visit, ask: Ask, world: World) -> Served:
    """Serve embeddings by the model that ``ask`` is confined to.

    Raises
    ------
    DomainError
        If the request is not admitted, or the model does not serve it.
    """
    door = visit.door
    serving = decide_and_hold(visit, ask, _open_to_embeddings(world))
    ledger = Ledger(door.engine, serving)

    def call(upstream: Upstream, deadline: Deadline) -> EmbeddingsAnswer:
        return create_embeddings(door.client, upstream, ask.payload, deadline)

    delivery = deliver(visit, serving, ledger, call)
    answer, model = delivery.result, delivery.upstream.id
    is_counted = answer.usage_source == "provider"
    tokens_in = answer.tokens_in if is_counted else ask.context.tokens_in
    ending = Ending(
        delivery.story, model, None, answer.latency_ms, tokens_in, 0,
        ledger.priced(model, tokens_in, 0),
    )  # fmt: skip
    return served_with(answer.body, visit, ledger, ending)


def embeddings_model(name: str, world: World) -> str:
    """Return the model that ``name`` asks for.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, or none for embeddings.
    InvalidValueError
        If the model is not for embeddings, or ``auto`` could be several.
    """
    able = [card.id for card in world.models if card.enabled and EMBEDDINGS in card.modalities]
    if name == "auto":
        if len(able) > 1:
            raise InvalidValueError(
                "Vectors of different models cannot be compared, so name one of: "
                f"{', '.join(able)}.",
                errors=[FieldError("#/model", "several models make embeddings")],
            )
        if not able:
            raise _missing("No model for embeddings is registered (modality 'embeddings').")
        return able[0]
    if name not in world.upstreams:
        raise _missing(f"There is no model {name!r}; GET /v1/models lists them.")
    if name not in able:
        raise InvalidValueError(
            f"{name!r} is not enabled for embeddings; register it with the modality 'embeddings'.",
            errors=[FieldError("#/model", "makes no embeddings")],
        )
    return name


def _open_to_embeddings(world: World) -> World:
    """Return the world with policies that allow every model: they allot chats, and a model for
    embeddings is never a candidate for those.
    """
    return replace(
        world,
        policies={
            name: replace(
                policy,
                levels={k: replace(level, models=None) for k, level in policy.levels.items()},
            )
            for name, policy in world.policies.items()
        },
    )


def _missing(detail: str) -> ModelNotFoundError:
    return ModelNotFoundError(detail, errors=[FieldError("#/model", "not found")])
