"""What can go wrong between the bus and a worker, on purpose.

``duplicate``, ``delay`` and ``reorder`` act when the bus puts a message into a queue. ``drop``
loses the *result* of a worker that did its work, so the message comes back after its visibility
timeout: queues lose results, never messages.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

from infra.local.queues import Outgoing

_OVERTAKING_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Probabilities per delivery; all off by default."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """That a message is held back so long that later ones overtake it."""
    delay_s: float = 0.0
    """Every message arrives up to this much later."""
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``duplicate=0.1,reorder=0.2,delay_s=0.5,drop=0.01,seed=7``.

        Raises
        ------
        ValueError
            If a name or a number is wrong.
        """
        known = {field.name for field in fields(cls)}
        given = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if unknown := sorted(set(given) - known):
            raise ValueError(f"unknown fault {unknown[0]!r}; known are {', '.join(sorted(known))}")
        seed = given.pop("seed", None)
        numbers = {name: float(value) for name, value in given.items()}
        return cls(**numbers, seed=None if seed is None else int(seed))


class FaultInjector:
    """Rolls the dice, reproducibly when seeded."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)

    def disturb(self, messages: Iterable[Outgoing]) -> Iterator[Outgoing]:
        """Yield ``messages`` as a bad network would hand them to the queues."""
        for message in messages:
            yield self._late(message)
            if self._happens(self._faults.duplicate):
                yield self._late(message)

    def loses_result(self) -> bool:
        return self._happens(self._faults.drop)

    def _late(self, message: Outgoing) -> Outgoing:
        delay_s = self._random.uniform(0, self._faults.delay_s)
        if self._happens(self._faults.reorder):
            delay_s += self._random.uniform(0, _OVERTAKING_S)
        return replace(message, delay_s=message.delay_s + delay_s)

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability
