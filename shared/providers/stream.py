"""A chat completion as it is generated: chunks as the provider sends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from shared.observability.tracing import ModelCall
from shared.providers.chunks import Chunk, Completion, Usage
from shared.providers.client import Reply
from shared.providers.exchange import decoder
from shared.providers.failures import UpstreamCallError
from shared.providers.sse import MAX_EVENT_BYTES, Event, EventTooLargeError, SseParser

__all__ = ["ChatStream", "Chunk", "Usage"]

# After every choice has ended only usage and [DONE] can come; who needs longer has sent it all.
_AFTER_END_S = 2.0
# To give a finished connection back its last bytes must be read; they come at once or not at all.
_DRAIN_S = 0.02
_DRAIN_PIECES = 8


class ChatStream:
    """An open stream, at its first content. Iterate it once, then (always) ``close`` it.

    Iterating yields ``Chunk`` and ends normally only when the provider finished the answer; the
    final ``data: [DONE]`` is the caller's to write. Any other end raises ``UpstreamCallError``
    (``cut``, ``idle-timeout``, ``timeout``, ``rate-limited``, ``upstream-5xx``, ``malformed``...).
    Finished means that every choice said why it ended, with ``[DONE]`` or without; ``[DONE]`` alone
    is a cut, as proxies write it after a failure too.
    The usage-only chunk is left out unless the payload asked for it.

    ``first_byte_ms`` is the measured time to the first content, in ms.
    """

    def __init__(
        self, reply: Reply, call: ModelCall, *, idle_s: float, expected: int, passes_usage: bool,
        started_at: float, counting: Callable[[float], float],
    ) -> None:  # fmt: skip
        self.status = reply.status
        self.first_byte_ms = 0.0
        self.measured_ms = 0.0
        self._reply = reply
        self._call = call
        self._idle_s = idle_s
        self._passes_usage = passes_usage
        self._started_at = started_at
        self._counting = counting
        self._completion = Completion(expected)
        self._is_open = False
        self._is_done = False
        self._is_over = False
        self._finished: Callable[[], None] = lambda: None
        self._early: list[Chunk] = []
        self._pieces = reply.pieces()
        self._chunks = self._read()

    @property
    def usage(self) -> Usage | None:
        """The provider's last usage so far."""
        return self._completion.usage

    @property
    def usage_source(self) -> Literal["provider", "missing"]:
        return "missing" if self._completion.usage is None else "provider"

    @property
    def text(self) -> str:
        """The content generated so far, of all choices in order of arrival."""
        return self._completion.text

    @property
    def text_chars(self) -> int:
        """Generated characters so far: content, reasoning, refusals, tool calls' arguments."""
        return self._completion.text_chars

    @property
    def finish_reason(self) -> str | None:
        return self._completion.finish_reason

    @property
    def filtered(self) -> bool:
        """Whether a choice ended with ``content_filter``."""
        return self._completion.filtered

    @property
    def latency_ms(self) -> float:
        """What counts for this model: reported or measured, in ms; final once the stream ended."""
        return self._counting(self.measured_ms)

    def on_finish(self, finished: Callable[[], None]) -> None:
        """Call ``finished`` when the provider has finished the answer."""
        self._finished = finished

    def open(self) -> None:
        """Read up to the first content.

        Raises
        ------
        UpstreamCallError
            Classified; nothing was passed on, so another model may be tried.
        """
        for chunk in self._chunks:
            self._early.append(chunk)
            if chunk.bears_content or chunk.finish_reason is not None:
                break
        self._is_open = True
        self.first_byte_ms = self.measured_ms = self._elapsed_ms()
        self._call.first_chunk()

    def __iter__(self) -> Iterator[Chunk]:
        while self._early:
            yield self._early.pop(0)
        self._reply.patience.wait_for_next(self._idle_s)
        try:
            yield from self._chunks
        except UpstreamCallError as error:
            self._over()
            error.latency_ms = self.measured_ms
            error.status = error.status or self.status
            self._call.failed(error.error_class)
            self._call.end()
            raise
        self._over()
        self._tell(self._completion)
        self._finished()

    def interrupt(self) -> None:
        """End a wait for the next chunk, which then fails; from any thread."""
        self._reply.interrupt()

    def close(self) -> None:
        """Cancel the request at once, or give the finished connection back. Idempotent."""
        self._over()
        if self._is_done:
            self._drain()
        self._reply.close()
        self._call.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> Iterator[Chunk]:
        parser = SseParser()
        decode = decoder(self._reply)
        lines = 0
        while not self._is_done and (piece := self._next_piece()) is not None:
            for event in _fed(parser, decode(piece, MAX_EVENT_BYTES + 1)):
                yield from self._take(event)
            if parser.lines != lines:
                lines = parser.lines
                self._wait_for_next()
        if not self._is_done:
            for event in parser.end():
                yield from self._take_last(event)
        self._check_end()

    def _next_piece(self) -> bytes | None:
        """Return what comes next, or None at the end."""
        try:
            return next(self._pieces, None)
        except UpstreamCallError:
            if self._completion.is_whole:
                return None
            raise

    def _wait_for_next(self) -> None:
        """Being silent is measured from a sign of life that was taken: a whole line, or a comment;
        neither single bytes nor a reader who is slow to come back count.
        """
        if self._completion.is_whole:
            self._reply.patience.wait_for_next(_AFTER_END_S)
        elif self._is_open:
            self._reply.patience.wait_for_next(self._idle_s)

    def _take(self, event: Event) -> Iterator[Chunk]:
        data = event.data.strip()
        # Empty data is a keep-alive of some servers.
        if self._is_done or not data:
            return
        if data == b"[DONE]":
            self._is_done = True
            return
        chunk = self._completion.take(event)
        if self._passes_usage or not chunk.is_usage_only:
            yield chunk

    def _take_last(self, event: Event) -> Iterator[Chunk]:
        """Take an event without its end: half of one means that the stream was cut."""
        try:
            yield from self._take(event)
        except UpstreamCallError as error:
            if error.error_class != "malformed":
                raise
            if not self._completion.is_whole:
                raise UpstreamCallError("cut", "broke off", status=self.status) from error

    def _check_end(self) -> None:
        completion = self._completion
        if completion.is_whole or (self._is_done and completion.is_finished):
            return
        if completion.is_begun:
            raise UpstreamCallError("cut", "broke off", status=self.status)
        raise UpstreamCallError("empty", "streamed nothing", status=self.status)

    def _tell(self, completion: Completion) -> None:
        usage = completion.usage
        self._call.answered(
            response_id=completion.id,
            model=completion.model,
            finish_reasons=[completion.finish_reason],
            tokens_in=usage.tokens_in if usage else None,
            tokens_out=usage.tokens_out if usage else None,
        )
        self._call.end()

    def _drain(self) -> None:
        self._reply.patience.wait_for_next(_DRAIN_S)
        with suppress(UpstreamCallError):
            for _ in zip(range(_DRAIN_PIECES), self._pieces, strict=False):
                pass

    def _over(self) -> None:
        """Stop the clock: at the end, or when whoever read it leaves."""
        if not self._is_over:
            self._is_over = True
            self.measured_ms = self._elapsed_ms()

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started_at) * 1000


def _fed(parser: SseParser, piece: bytes) -> list[Event]:
    try:
        return parser.feed(piece)
    except EventTooLargeError as error:
        raise UpstreamCallError("too-large", str(error)) from error
