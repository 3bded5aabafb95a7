"""What the events of a streamed completion hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.providers.classify import class_of_error
from shared.providers.exchange import count, parse
from shared.providers.failures import UpstreamCallError
from shared.providers.sse import Event


@dataclass(frozen=True, slots=True)
class Usage:
    """The provider's token counts, checked for plausibility."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Chunk:
    r"""One event to pass on: ``raw`` is ``data: {...}\n\n`` as the provider said it.

    ``bears_content``: more than a role or a sign of life; ``delta_text_chars`` counts everything
    generated: content, reasoning, refusals, tool calls' arguments.
    """

    raw: bytes
    delta_text_chars: int
    finish_reason: str | None
    usage: Usage | None
    bears_content: bool
    is_usage_only: bool


@dataclass(slots=True)
class Completion:
    """A completion as far as its chunks have told it; ``expected`` is how many choices it has."""

    expected: int = 1
    usage: Usage | None = None
    text_chars: int = 0
    finish_reason: str | None = None
    filtered: bool = False
    id: str | None = None
    model: str | None = None
    _texts: list[str] = field(default_factory=list)
    _open: set[int] = field(default_factory=set)
    _finished: set[int] = field(default_factory=set)

    @property
    def text(self) -> str:
        """The content generated so far, of all choices in order of arrival."""
        return "".join(self._texts)

    @property
    def is_begun(self) -> bool:
        return bool(self._open or self._finished)

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return not self._open and len(self._finished) > 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing but usage can still come."""
        return self.is_finished and len(self._finished) >= self.expected

    def take(self, event: Event) -> Chunk:
        """Add an event.

        Raises
        ------
        UpstreamCallError
            For an error that the provider sent in band, by its class, and for nonsense.
        """
        document = parse(event.data)
        if not isinstance(document, dict):
            raise UpstreamCallError("malformed", "sent a chunk that is no JSON object")
        if document.get("error") or event.name == b"error":
            body = document if document.get("error") else {"error": document}
            raise UpstreamCallError(class_of_error(body), "sent an error", body=body)
        choices = document.get("choices") or []
        if not isinstance(choices, list):
            raise UpstreamCallError("malformed", "sent choices that are no list")
        usage = self._take_usage(document)
        chars, bears, reason = 0, False, None
        for choice in choices:
            more, bore, ended = self._take_choice(choice)
            chars, bears, reason = chars + more, bears or bore, ended or reason
        if self.id is None:
            self.id, self.model = _text(document.get("id")), _text(document.get("model"))
        self.text_chars += chars
        # Line feeds between JSON's tokens mean nothing; one line is what every client reads.
        raw = b"data: " + event.data.replace(b"\n", b" ") + b"\n\n"
        return Chunk(raw, chars, reason, usage, bears, not choices and usage is not None)

    def _take_usage(self, document: dict[str, Any]) -> Usage | None:
        said = document.get("usage")
        tokens_out = count(said, "completion_tokens")
        if tokens_out is None:
            return None
        self.usage = Usage(count(said, "prompt_tokens") or 0, tokens_out)
        return self.usage

    def _take_choice(self, choice: object) -> tuple[int, bool, str | None]:
        if not isinstance(choice, dict):
            raise UpstreamCallError("malformed", "sent a choice that is no object")
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        delta = choice.get("delta")
        chars, bears = self._take_delta(delta) if isinstance(delta, dict) else (0, False)
        reason = _text(choice.get("finish_reason"))
        if reason is None:
            if index not in self._finished:
                self._open.add(index)
            return chars, bears, None
        if reason == "error":
            raise UpstreamCallError("upstream-5xx", "ended with an error")
        self._open.discard(index)
        self._finished.add(index)
        self.finish_reason = reason
        self.filtered = self.filtered or reason == "content_filter"
        return chars, bears, reason

    def _take_delta(self, delta: dict[str, Any]) -> tuple[int, bool]:
        content = delta.get("content")
        if isinstance(content, str):
            self._texts.append(content)
        bears = any(value for name, value in delta.items() if name != "role")
        return sum(_chars(value) for name, value in delta.items() if name in _GENERATED), bears


_GENERATED = {
    "content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call",
}  # fmt: skip


def _chars(value: object) -> int:
    """Return how many characters were generated: text, and the arguments of tool calls."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_chars(item) for item in value)
    if isinstance(value, dict):
        wanted = (value.get(name) for name in ("name", "arguments", "function", "text"))
        return sum(_chars(item) for item in wanted)
    return 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
