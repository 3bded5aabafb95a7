"""Serve a chat completion as it is generated.

Until the first content another model may take over, so headers tell who answers. From then on the
answer is that model's: whatever goes wrong is said in the stream, and never looks like an end.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from functions.gateway.admission import Serving, decide_and_hold
from functions.gateway.asking import Ask
from functions.gateway.chat import deliver
from functions.gateway.door import Visit
from functions.gateway.failures import in_band_error
from functions.gateway.outcomes import CLIENT_CLOSED, Ending, Ledger
from shared.decisions.recorder import storable
from shared.decisions.snapshot import World
from shared.decisions.tokens import estimate_tokens
from shared.errors import DatabaseUnavailableError
from shared.observability.logging import get_logger
from shared.providers.attempts import Delivery
from shared.providers.chat import stream_chat
from shared.providers.deadline import Deadline
from shared.providers.failures import UpstreamCallError
from shared.providers.stream import ChatStream
from shared.providers.upstream import Upstream

_DONE = b"data: [DONE]\n\n"
_CHARACTERS_PER_TOKEN = 4
_IDENTITY = ("id", "object", "created", "model", "system_fingerprint")


def open_chat(visit: Visit, ask: Ask, world: World) -> ChatRelay:
    """Decide, and call models until one has said something.

    Raises
    ------
    DomainError
        If the request is not admitted, or no model begins to answer; the outcome is written then.
    """
    serving = decide_and_hold(visit, ask, world)
    ledger = Ledger(visit.door.engine, serving)

    def call(upstream: Upstream, _opening: Deadline) -> ChatStream:
        return stream_chat(visit.door.client, upstream, ask.payload, serving.deadline)

    return ChatRelay(visit, serving, ledger, deliver(visit, serving, ledger, call))


class ChatRelay:
    """An answer on its way: iterate ``events``, then (always) ``close``.

    Blocks while it waits for the model. However the stream ends, its outcome is written once: when
    the model has finished, when it breaks off, or in ``close`` when the client left.
    """

    def __init__(
        self, visit: Visit, serving: Serving, ledger: Ledger, delivery: Delivery[ChatStream]
    ) -> None:
        self._visit, self._serving, self._ledger = visit, serving, ledger
        self._delivery, self._stream = delivery, delivery.result
        self.model = delivery.upstream.id
        self._is_over = self._is_left = False
        self.is_whole = False

    @property
    def headers(self) -> dict[str, str]:
        """What is known before the first byte; the cost is not."""
        return {**self._serving.headers(), "x-davinci-model": self.model}

    async def events(self) -> AsyncGenerator[bytes]:
        """Yield server-sent events as the provider sends them.

        A failure is the last event, ``{"error": {...}}``; only a whole answer ends in ``[DONE]``.
        """
        wants_usage = self._serving.ask.wants_usage()
        usage_event = last = b""
        try:
            for chunk in self._stream:
                last = chunk.raw
                if chunk.is_usage_only:
                    usage_event = chunk.raw
                else:
                    yield chunk.raw
        except UpstreamCallError as error:
            if self._is_left:
                return
            self._fail(error)
            yield _event(in_band_error(error.error_class, error.detail))
            return
        ending = self._end(None)
        if wants_usage and (usage_event or self._stream.usage is None):
            yield self._usage(usage_event, last, ending)
        self.is_whole = True
        yield _DONE

    def interrupt(self) -> None:
        """End a wait for the provider, as the client has left; from any thread."""
        self._is_left = True
        self._stream.interrupt()

    def close(self) -> None:
        """Leave the provider at once; whoever has not heard the end has left. Idempotent."""
        self._stream.close()
        if not self._is_over:
            self._end(CLIENT_CLOSED)

    def _fail(self, error: UpstreamCallError) -> None:
        self._visit.door.breakers.failed_later(self.model, error)
        self._end(error.error_class)

    def _end(self, error_class: str | None) -> Ending:
        self._is_over = True
        stream, ask = self._stream, self._serving.ask
        if stream.usage is not None:
            tokens_in, tokens_out = stream.usage.tokens_in, stream.usage.tokens_out
        else:
            # Nobody counted: what was received is what can be charged.
            tokens_in, tokens_out = ask.context.tokens_in, estimate_tokens(stream.text)
            # Reasoning and calls of tools are no text, and generated all the same.
            tokens_out += round((stream.text_chars - len(stream.text)) / _CHARACTERS_PER_TOKEN)
        *before, served = self._delivery.story
        story = [*before, {**served, **self._attempt(error_class)}]
        ending = Ending(
            story, self.model, error_class, stream.latency_ms, tokens_in, tokens_out,
            self._ledger.priced(self.model, tokens_in, tokens_out),
            storable({"text": stream.text}) if self._visit.door.settings.store_text else None,
        )  # fmt: skip
        try:
            self._ledger.write(ending)
        except DatabaseUnavailableError:
            # The answer is out already; the sweep will find the request.
            get_logger().warning("the outcome of a stream could not be written")
        return ending

    def _attempt(self, error_class: str | None) -> dict[str, Any]:
        """Return what only the end tells of the attempt that served."""
        stream = self._stream
        return {
            "error_class": error_class or ("content-filter" if stream.filtered else None),
            "latency_ms": round(stream.latency_ms, 3),
            "measured_ms": round(stream.measured_ms, 3),
            "usage": stream.usage_source,
        }

    def _usage(self, said: bytes, last: bytes, ending: Ending) -> bytes:
        """Return the usage chunk with what we know; if the provider sent none, one of our own."""
        chunk = _data(said)
        if not chunk:
            chunk = {name: member for name, member in _data(last).items() if name in _IDENTITY}
            chunk["choices"] = []
            chunk["usage"] = {
                "prompt_tokens": ending.tokens_in,
                "completion_tokens": ending.tokens_out,
                "total_tokens": ending.tokens_in + ending.tokens_out,
            }
        chunk["x_davinci"] = {
            "decision_id": self._serving.recorded.public_id,
            "model": self.model,
            "cost_usd": ending.cost_usd,
            "usage": "estimated" if self._stream.usage is None else "provider",
        }
        return _event(chunk)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _data(raw: bytes) -> dict[str, Any]:
    """Return the document of an event; of one that is none, nothing."""
    lines = (line[5:] for line in raw.splitlines() if line.startswith(b"data:"))
    try:
        data = json.loads(b"\n".join(lines))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
