"""A request's admission: its buckets, charged once.

Usually before the route runs. A route that writes a decision charges by itself
(``shared.web.direct``): one statement admits and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from shared.auth.access import Access
from shared.db.engine import get_engine, translated_errors
from shared.errors import DatabaseUnavailableError
from shared.limits import (
    Bucket,
    LimiterUnavailableError,
    QuotaExceededError,
    Verdict,
    admit_call,
    verdict_of,
)
from shared.observability.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa


@dataclass(slots=True)
class Admission:
    """What a request takes from its buckets. ``is_due``: there are some, not charged yet.

    It knows nothing of its request, whose state holds it: a circle would keep every request in
    memory until the collector comes.
    """

    access: Access
    buckets: Sequence[Bucket]
    is_due: bool = field(init=False)
    verdict: Verdict | None = None
    """What the buckets said, which the outermost ring tells with every answer, also with errors."""

    def __post_init__(self) -> None:
        self.is_due = bool(self.buckets)

    def charge(self, connection: sa.Connection | None = None) -> None:
        """Charge the buckets, unless that was done; on a connection of its own if none is given.

        Raises
        ------
        QuotaExceededError
            If one of them lacks the room.
        DatabaseUnavailableError, LimiterUnavailableError
            If the limiter fails and the route does not go on without.
        """
        if not self.is_due:
            return
        call = admit_call(self.buckets)
        with self._without_limiter(), translated_errors():
            row = call.alone(get_engine()) if connection is None else call.within(connection)
            self.charged(verdict_of(self.buckets, row))

    def charged(self, verdict: Verdict) -> None:
        """Note what the buckets said when somebody else charged them.

        Raises
        ------
        QuotaExceededError
            If one of them lacked the room.
        """
        self.is_due = False
        self.verdict = verdict
        if not verdict.admitted:
            raise QuotaExceededError(verdict)

    @contextmanager
    def _without_limiter(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseUnavailableError, DBAPIError) as error:
            self.is_due = False
            if self.access.fail_open:
                kind = type(error).__name__
                get_logger().warning("limits cannot be checked, going on without: %s", kind)
            elif isinstance(error, DatabaseUnavailableError):
                raise
            else:
                raise LimiterUnavailableError from error
