"""HTTP/1.1 as far as a client needs it that posts one document and reads one answer (RFC 9112).

No redirects, no cookies, no decoding: what a gateway must not do by itself is not here. A head is
read in one piece and split, which costs a fifth of what a general state machine does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shared.providers.network import PatientSocket
from shared.providers.patience import Patience

Header = tuple[bytes, bytes]

_MOST_HEAD_BYTES = 100 * 1024
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\x00]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STRAY = re.compile(rb"[\x00\r\n]")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
# A value that would end its line begins another header.
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class NotHttpError(Exception):
    """The peer said something else."""


class BrokenOffError(Exception):
    """The peer ended the connection before the end of its answer."""


class UnsendableError(Exception):
    """A header holds what no header can."""


def head_of(target: bytes, headers: Sequence[Header], length: int) -> bytes:
    """Return the head of a POST.

    Raises
    ------
    UnsendableError
        For a header's value with a control character.
    """
    lines = [b"POST " + target + b" HTTP/1.1"]
    for name, value in headers:
        if _UNSENDABLE.search(value):
            raise UnsendableError(name.decode())
        lines.append(name + b": " + value)
    lines.append(b"Content-Length: %d\r\n\r\n" % length)
    return b"\r\n".join(lines)


class Response:
    """One answer on a connection, read as it arrives. ``headers`` by lower-case name."""

    def __init__(self, connection: PatientSocket, patience: Patience) -> None:
        """Read up to the end of the head.

        Raises
        ------
        NotHttpError, BrokenOffError, OutOfPatienceError, OSError
            Without one.
        """
        self.connection = connection
        self._patience = patience
        self._buffer = b""
        self._is_whole = False
        while True:
            is_old, self.status, self.headers = _read_head(self._take_head())
            if self.status >= 200:
                break
        words = self.headers.get(b"connection", b"").lower()
        self._stays_open = b"close" not in words and (not is_old or b"keep-alive" in words)

    @property
    def is_reusable(self) -> bool:
        """Whether the connection can carry the next request."""
        return self._is_whole and self._stays_open and not self._buffer

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives; once.

        Raises
        ------
        NotHttpError, BrokenOffError, OutOfPatienceError, OSError
            If it does not come to its end.
        """
        if self.status in {204, 304}:
            self._is_whole = True
            return iter(())
        coding = self.headers.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise NotHttpError("an unknown transfer coding")
            return self._chunks()
        length = self.headers.get(b"content-length")
        return self._until_closed() if length is None else self._counted(_length(length))

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._take(left)
            left -= len(piece)
            # Before it is passed on: whoever has all there is may not come back for the end.
            self._is_whole = not left
            yield piece
        self._is_whole = True

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = _CHUNK_SIZE.fullmatch(self._take_line())
            if size is None:
                raise NotHttpError("no chunk size")
            left = int(size[1], 16)
            if not left:
                break
            while left:
                piece = self._take(left)
                left -= len(piece)
                yield piece
            if self._take_line():
                raise NotHttpError("a chunk longer than it said")
        while self._take_line():
            pass  # a trailer says nothing that anybody asked for
        self._is_whole = True

    def _until_closed(self) -> Iterator[bytes]:
        self._stays_open = False
        while self._buffer or self._receive():
            piece, self._buffer = self._buffer, b""
            yield piece
        self._is_whole = True

    def _take(self, most: int) -> bytes:
        if not self._buffer and not self._receive():
            raise BrokenOffError
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _take_line(self) -> bytes:
        return self._take_until(b"\r\n")

    def _take_head(self) -> bytes:
        return self._take_until(b"\r\n\r\n")

    def _take_until(self, end: bytes) -> bytes:
        start = 0
        while (place := self._buffer.find(end, start)) < 0:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                raise NotHttpError("a line or head without end")
            start = max(0, len(self._buffer) - len(end) + 1)
            if not self._receive():
                raise BrokenOffError
        found, self._buffer = self._buffer[:place], self._buffer[place + len(end) :]
        return found

    def _receive(self) -> bool:
        data = self.connection.receive(self._patience)
        self._buffer += data
        return bool(data)


def _read_head(head: bytes) -> tuple[bool, int, dict[bytes, bytes]]:
    """Return whether it is HTTP/1.0, the status and the headers; of repeated ones the last."""
    if len(head) > _MOST_HEAD_BYTES:
        raise NotHttpError("a head without end")
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise NotHttpError("no status line")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _STRAY.search(value):
            raise NotHttpError("no header")
        name, value = name.lower(), value.strip(b" \t")
        # Two readings of where an answer ends would let one connection tell two stories.
        if name in _FRAMING and headers.get(name, value) != value:
            raise NotHttpError("two lengths")
        headers[name] = value
    return status[1] == b"0", int(status[2]), headers


def _length(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:
        raise NotHttpError("no length")
    return int(text)
