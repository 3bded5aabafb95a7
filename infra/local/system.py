"""What the local cloud has to run, as plain data: the answer of ``template.load_system``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What makes a function serve HTTP behind AWS's Lambda Web Adapter, and stream.
WEB_ADAPTER = {
    "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap",
    "AWS_LWA_INVOKE_MODE": "response_stream",
}


@dataclass(frozen=True, kw_only=True)
class Function:
    name: str
    """Logical id; also the name in ``POST /invoke/<name>``."""
    arn: str
    handler: str
    timeout_s: float
    memory_mb: int
    environment: Mapping[str, str]
    reserved_concurrency: int | None
    max_retries: int
    """Of an asynchronous invocation, after the first attempt."""
    failure_queue: str | None
    serves_http: bool = False
    """The handler is a command that listens on ``AWS_LWA_PORT``."""


@dataclass(frozen=True, kw_only=True)
class Route:
    method: str
    path: str
    function: str
    timeout_s: float | None = None
    """The route's own limit, on a REST API; an HTTP API has one for all."""

    @property
    def key(self) -> str:
        """The route key that API Gateway shows: ``GET /pets/{id}`` or ``$default``."""
        return self.path if self.path == "$default" else f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class Queue:
    name: str
    arn: str
    visibility_s: float
    delay_s: float
    dead_letter: str | None
    max_receives: int | None


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """A queue that feeds a function: Lambda's event source mapping."""

    queue: str
    function: str
    batch_size: int
    window_s: float
    reports_failures: bool
    max_concurrency: int | None


@dataclass(frozen=True, kw_only=True)
class Target:
    queue: str
    arn: str
    permitted: bool
    dead_letter: str | None
    """Queue for events that could not be delivered, if it admits the rule."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    name: str
    arn: str
    bus: str
    pattern: Mapping[str, Any]
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    name: str
    arn: str
    function: str
    expression: str
    timezone: str
    input: str | None


@dataclass(frozen=True)
class System:
    """Everything that ``template.yaml`` describes and this machine runs."""

    functions: Mapping[str, Function]
    routes: tuple[Route, ...]
    """Of the HTTP API: events in, results out."""
    streams: tuple[Route, ...]
    """Of the REST API: responses pass on part by part."""
    buses: frozenset[str]
    rules: tuple[Rule, ...]
    queues: Mapping[str, Queue]
    sources: tuple[EventSource, ...]
    schedules: tuple[Schedule, ...]
