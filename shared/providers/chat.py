"""Chat completions by any OpenAI-compatible provider, whole or as a stream.

A failure is classified, never swallowed: the caller decides whether another model may try.
"""

from __future__ import annotations

import time
from typing import Any

from shared.observability.tracing import ModelCall, start_call
from shared.providers.answer import Answer, read_answer
from shared.providers.client import Reply, UpstreamClient
from shared.providers.deadline import Deadline
from shared.providers.exchange import (
    ask,
    is_html,
    parse_document,
    post,
    read_all,
    reported_ms,
    timed_failures,
)  # fmt: skip
from shared.providers.failures import UpstreamCallError
from shared.providers.presets import preset_of
from shared.providers.stream import ChatStream
from shared.providers.upstream import Upstream

__all__ = ["complete_chat", "stream_chat"]


def complete_chat(
    client: UpstreamClient, upstream: Upstream, payload: dict[str, Any], deadline: Deadline
) -> Answer:
    """Send a chat completion to ``upstream`` and return its answer.

    ``payload`` is the caller's request; only the model's name is replaced.

    Raises
    ------
    UpstreamCallError
        Classified; ``RETRYABLE`` says whether another model may be tried.
    """
    path = preset_of(upstream.provider).chat_path
    with _start(upstream, payload) as call:
        answer = read_answer(ask(client, upstream, path, payload, deadline))
        counted = answer.usage_source == "provider"
        call.answered(
            response_id=answer.body.get("id"),
            model=answer.body.get("model"),
            finish_reasons=[choice.get("finish_reason") for choice in answer.body["choices"]],
            tokens_in=answer.tokens_in if counted else None,
            tokens_out=answer.tokens_out if counted else None,
        )
    return answer


def stream_chat(
    client: UpstreamClient, upstream: Upstream, payload: dict[str, Any], deadline: Deadline
) -> ChatStream:
    """Open a streamed chat completion; returns at its first content (see ``ChatStream``).

    Asks for usage always. A failure before that raises, so that another model may be tried.

    Raises
    ------
    UpstreamCallError
        Classified; ``RETRYABLE`` says whether another model may be tried.
    """
    started_at = time.perf_counter()
    preset = preset_of(upstream.provider)
    sent = _streaming(payload, takes_options=preset.takes_stream_options)
    call = _start(upstream, sent)
    try:
        with timed_failures(started_at):
            reply = post(client, upstream, preset.chat_path, sent, deadline)
            try:
                _check_streams(reply)
                stream = ChatStream(
                    reply,
                    call,
                    idle_s=client.idle_s,
                    expected=_choices(payload),
                    passes_usage=_wants_usage(payload),
                    started_at=started_at,
                    counting=lambda measured_ms: reported_ms(reply, upstream, measured_ms),
                )
                stream.open()
            except BaseException:
                reply.close()
                raise
    except UpstreamCallError as error:
        call.failed(error.error_class)
        call.end()
        raise
    return stream


def _start(upstream: Upstream, payload: dict[str, Any]) -> ModelCall:
    provider = preset_of(upstream.provider).otel_name
    return start_call("chat", provider, upstream.upstream_name, upstream.base_url, payload)


def _streaming(payload: dict[str, Any], *, takes_options: bool) -> dict[str, Any]:
    options = payload.get("stream_options")
    options = options if isinstance(options, dict) else {}
    sent = {**payload, "stream": True, "stream_options": {**options, "include_usage": True}}
    if not takes_options:
        del sent["stream_options"]
    return sent


def _wants_usage(payload: dict[str, Any]) -> bool:
    options = payload.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _choices(payload: dict[str, Any]) -> int:
    wanted = payload.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def _check_streams(reply: Reply) -> None:
    """Raise the failure of a reply that is no stream."""
    content_type = reply.header("content-type") or ""
    if 200 <= reply.status < 300 and not is_html(reply) and "json" not in content_type:
        return
    parse_document(reply, read_all(reply))
    raise UpstreamCallError("content-type", "answered with no stream", status=reply.status)
