"""Spans and metrics of model calls by OpenTelemetry's gen_ai conventions; free when switched off.

Nothing of OpenTelemetry is imported unless ``DAVINCI_OTEL_ENDPOINT`` is set. Prompts and answers
are never recorded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from shared.config import get_settings
from shared.observability.logging import get_logger

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

_SCOPE = "davinci"
# The conventions' bucket boundaries.
_SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
_TOKENS = tuple(4**power for power in range(14))
# Members of a request that are attributes of its span, if they are numbers.
_REQUEST = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}


class ModelCall:
    """One call to a model that nobody records."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.failed(getattr(error, "error_class", None) or type(error).__name__)
        self.end()

    def first_chunk(self) -> None:
        """The first content of a stream is there."""

    def answered(
        self, *, response_id: object, model: object, finish_reasons: Sequence[object],
        tokens_in: int | None, tokens_out: int | None,
    ) -> None:  # fmt: skip
        """The answer is whole. Token counts None: the provider did not say."""

    def failed(self, error_type: str) -> None:
        """The call ended with an error of this class."""

    def end(self) -> None:
        """The call is over; what follows is not recorded. Idempotent."""


_OFF = ModelCall()


class _RecordedCall(ModelCall):
    """A call as a client span and its metrics."""

    def __init__(self, instruments: Instruments, span: Span, attributes: dict[str, Any]) -> None:
        self._instruments = instruments
        self._span = span
        self._attributes = attributes
        self._started_at = time.perf_counter()
        self._is_over = False

    def first_chunk(self) -> None:
        waited_s = time.perf_counter() - self._started_at
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", waited_s)
        self._instruments.first_chunk.record(waited_s, self._attributes)

    def answered(
        self, *, response_id: object, model: object, finish_reasons: Sequence[object],
        tokens_in: int | None, tokens_out: int | None,
    ) -> None:  # fmt: skip
        if isinstance(response_id, str):
            self._span.set_attribute("gen_ai.response.id", response_id)
        if isinstance(model, str):
            self._span.set_attribute("gen_ai.response.model", model)
            self._attributes = {**self._attributes, "gen_ai.response.model": model}
        if reasons := [reason for reason in finish_reasons if isinstance(reason, str)]:
            self._span.set_attribute("gen_ai.response.finish_reasons", reasons)
        for kind, tokens in (("input", tokens_in), ("output", tokens_out)):
            if tokens is not None:
                self._span.set_attribute(f"gen_ai.usage.{kind}_tokens", tokens)
                attributes = {**self._attributes, "gen_ai.token.type": kind}
                self._instruments.tokens.record(tokens, attributes)

    def failed(self, error_type: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)
        self._attributes = {**self._attributes, "error.type": error_type}

    def end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._instruments.duration.record(time.perf_counter() - self._started_at, self._attributes)
        self._span.end()


class Instruments:
    """Tracer and histograms, made once."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider) -> None:
        self._tracer = tracers.get_tracer(_SCOPE)
        meter = meters.get_meter(_SCOPE)
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to receive the first chunk of a stream.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def start(
        self, operation: str, provider: str, model: str, base_url: str, payload: Mapping[str, Any]
    ) -> ModelCall:
        """Begin a client span ``{operation} {model}``."""
        from opentelemetry.trace import SpanKind

        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            **_server(base_url),
        }
        span = self._tracer.start_span(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            attributes={**attributes, **_request(payload)},
        )
        return _RecordedCall(self, span, attributes)


def start_call(
    operation: str, provider: str, model: str, base_url: str, payload: Mapping[str, Any]
) -> ModelCall:
    """Begin to record a call to ``model``, if anyone wants to know.

    ``provider`` by its name in the conventions; ``operation`` is ``chat`` or ``embeddings``.
    """
    instruments = get_instruments()
    if instruments is None:
        return _OFF
    return instruments.start(operation, provider, model, base_url, payload)


@lru_cache(maxsize=1)
def get_instruments() -> Instruments | None:
    """Return the process's instruments, exporting to the collector; None when switched off."""
    endpoint = get_settings().otel_endpoint.rstrip("/")
    if not endpoint:
        return None
    try:
        return _exporting_to(endpoint)
    except ImportError:
        get_logger().warning("DAVINCI_OTEL_ENDPOINT is set, but the extra 'otel' is not installed")
        return None


def _exporting_to(endpoint: str) -> Instruments:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "davinci"})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"))
    return Instruments(tracers, MeterProvider(resource=resource, metric_readers=[reader]))


@lru_cache(maxsize=256)
def _server(base_url: str) -> dict[str, Any]:
    try:
        url = urlsplit(base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        return {}
    return {"server.address": url.hostname or "", "server.port": port}


def _request(payload: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        name: value
        for member, name in _REQUEST.items()
        if isinstance(value := payload.get(member), (int, float)) and not isinstance(value, bool)
    }
    if isinstance(choices := payload.get("n"), int) and choices != 1:
        attributes["gen_ai.request.choice.count"] = choices
    if payload.get("stream") is True:
        attributes["gen_ai.request.stream"] = True
    stop = payload.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if isinstance(stops, list) and all(isinstance(text, str) for text in stops):
        attributes["gen_ai.request.stop_sequences"] = stops
    return attributes
