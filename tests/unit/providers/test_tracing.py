"""Spans and metrics by the names of OpenTelemetry's gen_ai conventions."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics as metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from shared.observability.tracing import Instruments, ModelCall
from shared.providers.failures import UpstreamCallError
from shared.providers.presets import PRESETS

PAYLOAD = {
    "model": "auto", "messages": [{"role": "user", "content": "a secret prompt"}],
    "max_tokens": 64, "temperature": 0.5, "top_p": True, "n": 2, "stop": "END", "stream": True,
}  # fmt: skip


class Recording:
    """The SDK with exporters that keep everything in memory."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.instruments = Instruments(tracers, MeterProvider(metric_readers=[self.reader]))

    def start(self, operation: str = "chat") -> ModelCall:
        base_url = "https://api.groq.com/openai/v1"
        return self.instruments.start(operation, "groq", "llama", base_url, PAYLOAD)

    def span(self) -> ReadableSpan:
        (span,) = self.spans.get_finished_spans()
        return span

    def points(self) -> dict[str, list[HistogramDataPoint]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        found = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in found}  # type: ignore[arg-type]


@pytest.fixture
def recording() -> Recording:
    return Recording()


def finish(call: ModelCall) -> None:
    call.answered(
        response_id="chatcmpl-1", model="llama-2026", finish_reasons=["stop", None, "length"],
        tokens_in=10, tokens_out=20,
    )  # fmt: skip


def test_a_call_is_a_client_span_with_the_conventions_attributes(recording: Recording) -> None:
    with recording.start() as call:
        finish(call)
    span = recording.span()
    assert span.name == "chat llama" and span.kind is SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        names.GEN_AI_OPERATION_NAME: names.GenAiOperationNameValues.CHAT.value,
        names.GEN_AI_PROVIDER_NAME: names.GenAiProviderNameValues.GROQ.value,
        names.GEN_AI_REQUEST_MODEL: "llama",
        server_attributes.SERVER_ADDRESS: "api.groq.com",
        server_attributes.SERVER_PORT: 443,
        names.GEN_AI_REQUEST_MAX_TOKENS: 64,
        names.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        names.GEN_AI_REQUEST_CHOICE_COUNT: 2,
        names.GEN_AI_REQUEST_STOP_SEQUENCES: ("END",),
        names.GEN_AI_REQUEST_STREAM: True,
        names.GEN_AI_RESPONSE_ID: "chatcmpl-1",
        names.GEN_AI_RESPONSE_MODEL: "llama-2026",
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop", "length"),
        names.GEN_AI_USAGE_INPUT_TOKENS: 10,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 20,
    }


def test_its_metrics_are_the_clients(recording: Recording) -> None:
    with recording.start() as call:
        call.first_chunk()
        finish(call)
    points = recording.points()
    assert set(points) == {
        metrics.GEN_AI_CLIENT_OPERATION_DURATION,
        metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
        metrics.GEN_AI_CLIENT_TOKEN_USAGE,
    }
    common: dict[str, Any] = {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: "groq",
        names.GEN_AI_REQUEST_MODEL: "llama",
        server_attributes.SERVER_ADDRESS: "api.groq.com",
        server_attributes.SERVER_PORT: 443,
    }
    whole = {**common, names.GEN_AI_RESPONSE_MODEL: "llama-2026"}
    (duration,) = points[metrics.GEN_AI_CLIENT_OPERATION_DURATION]
    assert dict(duration.attributes or {}) == whole
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert duration.explicit_bounds[-1] == 81.92
    (first,) = points[metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK]
    assert dict(first.attributes or {}) == common
    tokens = {
        (point.attributes or {})[names.GEN_AI_TOKEN_TYPE]: point
        for point in points[metrics.GEN_AI_CLIENT_TOKEN_USAGE]
    }
    assert tokens["input"].sum == 10 and tokens["output"].sum == 20
    assert dict(tokens["input"].attributes or {}) == {**whole, names.GEN_AI_TOKEN_TYPE: "input"}
    assert tokens["input"].explicit_bounds[-1] == 67_108_864


def test_a_failure_is_told_by_its_class(recording: Recording) -> None:
    def fail() -> None:
        with recording.start("embeddings"):
            raise UpstreamCallError("rate-limited", "answered 429")

    with pytest.raises(UpstreamCallError):
        fail()
    span = recording.span()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})[error_attributes.ERROR_TYPE] == "rate-limited"
    assert span.name == "embeddings llama"
    (duration,) = recording.points()[metrics.GEN_AI_CLIENT_OPERATION_DURATION]
    assert (duration.attributes or {})[error_attributes.ERROR_TYPE] == "rate-limited"


def test_a_call_ends_once(recording: Recording) -> None:
    with recording.start() as call:
        call.end()
    assert len(recording.spans.get_finished_spans()) == 1


def test_no_prompt_is_recorded(recording: Recording) -> None:
    with recording.start() as call:
        finish(call)
    assert "secret" not in recording.span().to_json()


def test_well_known_providers_have_the_conventions_names() -> None:
    known = {value.value for value in names.GenAiProviderNameValues}
    own = {"sambanova", "cerebras", "vllm", "ollama"}
    for name, preset in PRESETS.items():
        assert preset.otel_name == name if name in own else preset.otel_name in known


def test_switched_off_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, shared.providers.chat as chat, shared.observability.tracing as tracing\n"
        "assert tracing.get_instruments() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    env = {"DATABASE_URL": "postgresql+pg8000://nowhere"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
