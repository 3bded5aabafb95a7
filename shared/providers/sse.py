"""Server-sent events, parsed from bytes that are split anywhere. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_EVENT_BYTES = 1_048_576
MAX_STREAM_BYTES = 64 * 1_048_576


class EventTooLargeError(ValueError):
    """An event, or the stream as a whole, is larger than anyone has a use for."""


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event; ``data`` holds its data lines, joined by line feeds."""

    data: bytes
    name: bytes = b""


@dataclass(slots=True)
class SseParser:
    """Feed it what arrives; it returns the events that are complete.

    Lines end in LF, CRLF or CR; comments are skipped; ``id`` and ``retry`` mean nothing here.
    ``lines`` counts complete lines, comments included: a sign of life that single bytes are not.
    """

    lines: int = 0
    _rest: bytes = b""
    _data: list[bytes] = field(default_factory=list)
    _name: bytes = b""
    _event_bytes: int = 0
    _total_bytes: int = 0
    _after_cr: bool = False

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that ``piece`` completes.

        Raises
        ------
        EventTooLargeError
            Above ``MAX_EVENT_BYTES`` in one event or ``MAX_STREAM_BYTES`` in all.
        """
        self._total_bytes += len(piece)
        if self._total_bytes > MAX_STREAM_BYTES:
            raise EventTooLargeError("the stream is too large")
        if self._after_cr and piece:
            # The line feed of a CRLF that was split between two pieces ends no line of its own.
            self._after_cr = False
            if piece[0] == 0x0A:
                piece = piece[1:]
        if piece.endswith(b"\r"):
            self._after_cr = True
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = piece.split(b"\n")
        if not others:
            self._rest += first
            self._check()
            return []
        lines = [self._rest + first, *others[:-1]]
        self._rest = others[-1]
        events = [event for line in lines if (event := self._line(line)) is not None]
        self._check()
        return events

    def end(self) -> list[Event]:
        """Return the last event, where the stream ended without the blank line after it."""
        events = [event for line in (self._rest, b"") if (event := self._line(line)) is not None]
        self._rest = b""
        return events

    def _check(self) -> None:
        if self._event_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLargeError("an event is too large")

    def _line(self, line: bytes) -> Event | None:
        self.lines += 1
        if self.lines == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        self._event_bytes += len(line)
        if self._event_bytes > MAX_EVENT_BYTES:
            raise EventTooLargeError("an event is too large")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value
        elif not name:
            # A comment is no part of the event: keep-alives may go on for as long as they like.
            self._event_bytes -= len(line)
        return None

    def _dispatch(self) -> Event | None:
        event = Event(b"\n".join(self._data), self._name) if self._data else None
        self._data, self._name, self._event_bytes = [], b"", 0
        return event
