"""How long one call waits at each of its stages; never past its deadline.

httpx bounds the wait for each piece only, and its connect timeout counts for each address and not
at all while a name is resolved; a peer that drips headers would outlast any caller. So the socket
asks before every operation how much patience is left (see ``network``).
"""

from __future__ import annotations

from typing import Literal

from shared.providers.deadline import Deadline

Stage = Literal["first-byte-timeout", "idle-timeout"]


class OutOfPatienceError(Exception):
    """A wait is over; ``Patience.expired`` says which."""


class Patience:
    """The waits of one call on one socket, and what the socket saw meanwhile."""

    __slots__ = ("_connect_by", "_deadline", "_stage", "_until", "ended", "received")

    def __init__(self, deadline: Deadline, connect_s: float, first_byte_s: float) -> None:
        now = deadline.now()
        self._deadline = deadline
        self._connect_by = now + connect_s
        self._until = now + first_byte_s
        self._stage: Stage = "first-byte-timeout"
        self.received = False
        """Whether anything of an answer came."""
        self.ended = False
        """Whether the peer closed its side."""

    def wait_for_next(self, seconds: float) -> None:
        """Begin a new wait, for the next sign of life."""
        self._until = self._deadline.now() + seconds
        self._stage = "idle-timeout"

    def left_s(self) -> float:
        """Return how long the next socket operation may take, above 0.

        Raises
        ------
        OutOfPatienceError
            If no time is left.
        """
        return self._positive(min(self._deadline.at, self._until))

    def connect_left_s(self) -> float:
        """Return the same for resolving, connecting and the TLS handshake together."""
        return self._positive(min(self._deadline.at, self._until, self._connect_by))

    def is_over(self) -> bool:
        """Whether the caller's deadline has passed."""
        return self._deadline.remaining_s() <= 0

    def expired(self) -> Literal["timeout", "first-byte-timeout", "idle-timeout"]:
        """Return which wait ended the call: the caller's deadline or the stage's own."""
        if self._deadline.at <= self._until:
            return "timeout"
        return self._stage

    def _positive(self, at: float) -> float:
        left = at - self._deadline.now()
        if left <= 0:
            raise OutOfPatienceError
        return left
