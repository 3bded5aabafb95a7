"""Reads ``template.yaml`` into a ``System``.

Every property of every resource is either honoured, listed as having no meaning on one machine
(``_UNUSED``), or refused: a template that would behave differently on AWS does not start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.local.intrinsics import ACCOUNT_ID, REGION, Resolver, TemplateError, load_document
from infra.local.permissions import allows_events
from infra.local.references import (
    BUS,
    FUNCTION,
    HTTP_API,
    QUEUE,
    QUEUE_POLICY,
    REST_API,
    RULE,
    References,
)
from infra.local.system import (
    WEB_ADAPTER,
    EventSource,
    Function,
    Queue,
    Route,
    Rule,
    Schedule,
    System,
    Target,
)

# Resources that route or run nothing: referring to them gives a readable placeholder.
_BYSTANDERS = (
    "AWS::CloudFormation::", "AWS::CloudFront::", "AWS::CloudWatch::", "AWS::EC2::", "AWS::IAM::",
    "AWS::KMS::", "AWS::Lambda::Permission", "AWS::Logs::", "AWS::RDS::", "AWS::S3::",
    "AWS::SNS::", "AWS::SSM::Parameter", "AWS::SecretsManager::", "AWS::Serverless::Application",
    "AWS::Serverless::LayerVersion",
)  # fmt: skip
# Properties without effect on one machine: packaging, permissions, networks, retention. CORS is
# among them because the dashboard and the API share one origin here.
_UNUSED = {
    FUNCTION: {
        "Architectures", "AutoPublishAlias", "CodeUri", "DeploymentPreference", "Description",
        "EphemeralStorage", "KmsKeyArn", "Layers", "LoggingConfig", "PermissionsBoundary",
        "Policies", "PropagateTags", "ProvisionedConcurrencyConfig", "Role", "Runtime",
        "SnapStart", "Tags", "Tracing", "VpcConfig",
    },
    HTTP_API: {
        "AccessLogSettings", "CorsConfiguration", "DefaultRouteSettings", "Description",
        "DisableExecuteApiEndpoint", "Domain", "FailOnWarnings", "Name", "PropagateTags",
        "RouteSettings", "Tags",
    },
    REST_API: {
        "AccessLogSetting", "AlwaysDeploy", "Description", "DisableExecuteApiEndpoint", "Domain",
        "EndpointConfiguration", "MethodSettings", "MinimumCompressionSize", "Name",
        "OpenApiVersion", "PropagateTags", "StageName", "Tags", "TracingEnabled",
    },
    QUEUE: {
        "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "MessageRetentionPeriod", "QueueName",
        "RedriveAllowPolicy", "SqsManagedSseEnabled", "Tags",
    },
    BUS: {"DeadLetterConfig", "Description", "KmsKeyIdentifier", "LogConfig", "Name", "Tags"},
    RULE: {"Description", "Name", "RoleArn", "Tags"},
}  # fmt: skip
_LONGEST_STREAM_S = 900.0


def load_system(
    path: Path,
    *,
    parameters: Mapping[str, str] | None = None,
    overridden: Collection[str] = (),
) -> System:
    """Read the template at ``path``.

    Parameters
    ----------
    parameters : mapping, optional
        Values of template parameters; the others take their defaults.
    overridden : collection of str
        Environment variables that the local cloud sets itself. Their values in the template are
        not resolved, because they may refer to a database that exists in AWS only.

    Raises
    ------
    TemplateError
        Naming the resource and what about it AWS refuses or the local cloud does not run.
    """
    return _Reader(load_document(path), parameters or {}, overridden).system()


class _Properties:
    """The properties of one resource. Whatever nobody takes is refused."""

    def __init__(self, owner: str, values: Mapping[str, Any], resolve: Resolver) -> None:
        self._owner = owner
        self._values = dict(values)
        self._resolve = resolve

    def raw(self, name: str) -> Any:
        return self._values.pop(name, None)

    def take(self, name: str, default: Any = None) -> Any:
        value = self._resolve([self.raw(name)])  # in a list, so that AWS::NoValue vanishes
        return default if value in ([], [None]) else value[0]

    def require(self, name: str) -> Any:
        value = self.take(name)
        if value is None:
            raise TemplateError(f"{self._owner}: {name} is missing")
        return value

    def close(self, unused: Collection[str] = ()) -> None:
        unknown = sorted(set(self._values) - set(unused))
        if unknown:
            raise TemplateError(
                f"{self._owner}: {', '.join(unknown)} is not supported by the local cloud"
            )


class _Reader:
    def __init__(
        self,
        document: Mapping[str, Any],
        parameters: Mapping[str, str],
        overridden: Collection[str],
    ) -> None:
        self._references = References(document, parameters)
        self._resolve = self._references.resolve
        self._overridden = overridden
        self._globals: Mapping[str, Any] = document.get("Globals") or {}
        self._all: Mapping[str, Any] = document["Resources"]
        self._routes: dict[str, Route] = {}
        self._streams: dict[str, Route] = {}
        self._sources: list[EventSource] = []
        self._schedules: list[Schedule] = []

    def system(self) -> System:
        self._refuse_what_does_not_run()
        self._queues = {q.name: q for q in map(self._queue, self._of_type(QUEUE))}
        self._policies = self._queue_policies()
        buses = [str(self._references.name(name)) for name in self._of_type(BUS)]
        rules = [self._rule(name) for name in self._of_type(RULE)]
        functions = {name: self._function(name) for name in self._of_type(FUNCTION)}
        for source in self._sources:
            self._check_visibility(source, functions[source.function])
        for function in functions.values():
            self._check_events(function)
        return System(
            functions=functions,
            routes=tuple(self._routes.values()),
            streams=tuple(self._streams.values()),
            buses=frozenset(["default", *buses]),
            rules=tuple(rules),
            queues=self._queues,
            sources=tuple(self._sources),
            schedules=tuple(self._schedules),
        )

    # Resources ------------------------------------------------------------------------------

    def _queue_named(self, reference: str, owner: str) -> str:
        """Return the queue's name from its ARN or URL."""
        name = reference.replace("/", ":").rpartition(":")[2]
        if name not in self._queues or (":sqs:" not in reference and "//sqs." not in reference):
            raise TemplateError(f"{owner}: {reference} is not a queue of this template")
        return name

    def _of_type(self, kind: str) -> Iterator[str]:
        for name, resource in self._all.items():
            if resource["Type"] == kind and self._exists(resource):
                yield name

    def _exists(self, resource: Mapping[str, Any]) -> bool:
        return "Condition" not in resource or self._resolve.condition(resource["Condition"])

    def _properties(self, name: str) -> _Properties:
        return _Properties(name, self._all[name].get("Properties") or {}, self._resolve)

    def _refuse_what_does_not_run(self) -> None:
        known = {FUNCTION, HTTP_API, REST_API, QUEUE, QUEUE_POLICY, BUS, RULE}
        for name, resource in self._all.items():
            kind = resource["Type"]
            if kind not in known and not kind.startswith(_BYSTANDERS):
                raise TemplateError(f"{name}: {kind} is not supported by the local cloud")
        for kind, name in ((HTTP_API, "HTTP"), (REST_API, "REST")):
            apis = [self._properties(api) for api in self._of_type(kind)]
            if len(apis) > 1:
                raise TemplateError(
                    f"the local cloud serves one {name} API, the template has several"
                )
            for api in apis:
                api.close(_UNUSED[kind])
        _Properties("Globals", self._globals, self._resolve).close({"Function"})
        for name in self._of_type(BUS):
            self._properties(name).close(_UNUSED[BUS])

    def _queue(self, name: str) -> Queue:
        properties = self._properties(name)
        redrive = properties.take("RedrivePolicy", {})
        queue = Queue(
            name=str(self._references.name(name)),
            arn=self._references.arn(name),
            visibility_s=float(properties.take("VisibilityTimeout", 30)),
            delay_s=float(properties.take("DelaySeconds", 0)),
            dead_letter=redrive["deadLetterTargetArn"].rpartition(":")[2] if redrive else None,
            max_receives=int(redrive["maxReceiveCount"]) if redrive else None,
        )
        properties.close(_UNUSED[QUEUE])
        return queue

    def _queue_policies(self) -> dict[str, list[Any]]:
        policies: dict[str, list[Any]] = {}
        for name in self._of_type(QUEUE_POLICY):
            properties = self._properties(name)
            statements = properties.require("PolicyDocument")["Statement"]
            for reference in properties.require("Queues"):
                queue = self._queue_named(reference, name)
                if queue in policies:
                    raise TemplateError(f"{name}: {queue} has a policy; AWS would replace it")
                policies[queue] = statements if isinstance(statements, list) else [statements]
            properties.close()
        return policies

    def _rule(self, name: str) -> Rule:
        properties = self._properties(name)
        arn = self._references.arn(name)
        rule = Rule(
            name=str(self._references.name(name)),
            arn=arn,
            bus=self._references.bus_of_rule(name),
            pattern=properties.require("EventPattern"),
            targets=tuple(self._target(name, arn, t) for t in properties.require("Targets")),
        )
        properties.close({"EventBusName", *_UNUSED[RULE]})
        return rule

    def _target(self, rule: str, rule_arn: str, values: Mapping[str, Any]) -> Target:
        # A delivery here either commits or fails PutEvents, so RetryPolicy has nothing to do.
        properties = _Properties(f"{rule}.Targets", values, self._resolve)
        arn = str(properties.require("Arn"))
        dead_letter_arn = properties.take("DeadLetterConfig", {}).get("Arn")
        target = Target(
            queue=self._queue_named(arn, rule),
            arn=arn,
            permitted=self._may_send(rule_arn, arn, rule),
            dead_letter=self._queue_named(dead_letter_arn, rule)
            if dead_letter_arn and self._may_send(rule_arn, dead_letter_arn, rule)
            else None,
        )
        properties.close({"Id", "RetryPolicy"})
        return target

    def _may_send(self, rule_arn: str, queue_arn: str, owner: str) -> bool:
        statements = self._policies.get(self._queue_named(queue_arn, owner), [])
        return allows_events(statements, queue_arn, rule_arn)

    # Functions and their events -------------------------------------------------------------

    def _function(self, name: str) -> Function:
        own = self._all[name].get("Properties") or {}
        shared = self._globals.get("Function") or {}
        properties = _Properties(name, {**shared, **own}, self._resolve)
        properties.raw("Environment")
        reserved = properties.take("ReservedConcurrentExecutions")
        retries, failure_queue = self._asynchronous(name, properties.take("EventInvokeConfig", {}))
        for event_name, event in (properties.raw("Events") or {}).items():
            self._event(name, f"{name}.{event_name}", event)
        environment = self._variables(shared) | self._variables(own)
        function = Function(
            name=name,
            arn=self._references.arn(name),
            handler=str(properties.require("Handler")),
            timeout_s=float(properties.take("Timeout", 3)),
            memory_mb=int(properties.take("MemorySize", 128)),
            environment=environment,
            reserved_concurrency=None if reserved is None else int(reserved),
            max_retries=retries,
            failure_queue=failure_queue,
            serves_http=WEB_ADAPTER.items() <= environment.items(),
        )
        properties.close({"FunctionName", *_UNUSED[FUNCTION]})
        return function

    def _variables(self, properties: Mapping[str, Any]) -> dict[str, str]:
        variables = (properties.get("Environment") or {}).get("Variables") or {}
        wanted = {name: v for name, v in variables.items() if name not in self._overridden}
        return {name: _variable_text(value) for name, value in self._resolve(wanted).items()}

    def _asynchronous(self, name: str, config: Mapping[str, Any]) -> tuple[int, str | None]:
        properties = _Properties(f"{name}.EventInvokeConfig", config, self._resolve)
        retries = int(properties.take("MaximumRetryAttempts", 2))
        failure = properties.take("DestinationConfig", {}).get("OnFailure")
        properties.close({"MaximumEventAgeInSeconds", "Qualifier"})
        return retries, self._queue_named(failure["Destination"], name) if failure else None

    def _event(self, function: str, owner: str, event: Mapping[str, Any]) -> None:
        readers = {
            "HttpApi": self._route,
            "Api": self._stream,
            "SQS": self._source,
            "ScheduleV2": self._schedule,
        }
        if event["Type"] not in readers:
            raise TemplateError(f"{owner}: events of type {event['Type']} are not supported")
        properties = _Properties(owner, event.get("Properties") or {}, self._resolve)
        readers[event["Type"]](function, owner, properties)

    def _route(self, function: str, owner: str, properties: _Properties) -> None:
        method = str(properties.take("Method", "ANY")).upper()
        path = str(properties.take("Path", "$default"))
        properties.close({"ApiId", "RouteSettings"})
        _add(self._routes, Route(method=method, path=path, function=function), owner)

    def _stream(self, function: str, owner: str, properties: _Properties) -> None:
        method, path = str(properties.require("Method")).upper(), str(properties.require("Path"))
        timeout_s = float(properties.take("TimeoutInMillis", 29_000)) / 1000
        if properties.take("ResponseTransferMode") != "RESPONSE_STREAM":
            raise TemplateError(f"{owner}: routes of a REST API are supported only to stream")
        if timeout_s > _LONGEST_STREAM_S:
            raise TemplateError(f"{owner}: a stream lasts {_LONGEST_STREAM_S:.0f} s at most")
        properties.close({"RestApiId"})
        route = Route(method=method, path=path, function=function, timeout_s=timeout_s)
        _add(self._streams, route, owner)

    def _check_events(self, function: Function) -> None:
        """A streaming route needs the Web Adapter, and in its streaming mode nothing else works."""
        streams = any(route.function == function.name for route in self._streams.values())
        others: list[Route | EventSource | Schedule] = [
            *self._routes.values(), *self._sources, *self._schedules,
        ]  # fmt: skip
        if streams and not function.serves_http:
            needed = " and ".join(f"{name}={value}" for name, value in WEB_ADAPTER.items())
            raise TemplateError(f"{function.name}: a streaming route needs {needed}")
        if function.serves_http and any(other.function == function.name for other in others):
            raise TemplateError(f"{function.name} serves streaming routes of a REST API only")

    def _source(self, function: str, owner: str, properties: _Properties) -> None:
        scaling = properties.take("ScalingConfig", {})
        source = EventSource(
            queue=self._queue_named(str(properties.require("Queue")), owner),
            function=function,
            batch_size=int(properties.take("BatchSize", 10)),
            window_s=float(properties.take("MaximumBatchingWindowInSeconds", 0)),
            reports_failures=properties.take("FunctionResponseTypes", [])
            == ["ReportBatchItemFailures"],
            max_concurrency=scaling.get("MaximumConcurrency"),
        )
        properties.close()
        if source.batch_size > 10 and source.window_s < 1:
            raise TemplateError(f"{owner}: BatchSize over 10 needs a batching window of 1 s")
        self._sources.append(source)

    def _check_visibility(self, source: EventSource, function: Function) -> None:
        visibility_s = self._queues[source.queue].visibility_s
        if visibility_s < function.timeout_s:
            raise TemplateError(
                f"{source.queue}: VisibilityTimeout {visibility_s:.0f} s is shorter than the "
                f"timeout of {function.name}, {function.timeout_s:.0f} s"
            )

    def _schedule(self, function: str, owner: str, properties: _Properties) -> None:
        name = str(properties.take("Name", owner.replace(".", "")))
        schedule = Schedule(
            name=name,
            arn=f"arn:aws:scheduler:{REGION}:{ACCOUNT_ID}:schedule/default/{name}",
            function=function,
            expression=str(properties.require("ScheduleExpression")),
            timezone=str(properties.take("ScheduleExpressionTimezone", "UTC")),
            input=properties.take("Input"),
        )
        properties.close({"DeadLetterConfig", "Description", "PermissionsBoundary", "RetryPolicy",
                          "RoleArn"})  # fmt: skip
        self._schedules.append(schedule)


def _add(routes: dict[str, Route], route: Route, owner: str) -> None:
    path = route.path
    if path != "$default" and (not path.startswith("/") or "+}" in path[:-2]):
        raise TemplateError(f"{owner}: {path} starts with / and ends with its greedy variable")
    if route.key in routes:
        raise TemplateError(f"{owner}: {routes[route.key].function} has {route.key} too")
    routes[route.key] = route


def _variable_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
