"""Reading ``template.yaml``: what is understood, and what is refused by name."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from infra.local.intrinsics import TemplateError
from infra.local.system import Route, System
from infra.local.template import load_system

SAMPLE = Path(__file__).parents[2] / "integration" / "local" / "sample" / "template.yaml"
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def sample() -> System:
    return load_system(SAMPLE, overridden={"DATABASE_URL"})


def load(tmp_path: Path, resources: str, head: str = "") -> System:
    """Read a template with these resources."""
    text = textwrap.dedent(head) + "\nResources:\n"
    text += textwrap.indent(textwrap.dedent(resources), "  ")
    path = tmp_path / "template.yaml"
    path.write_text(text)
    return load_system(path)


def test_functions_take_globals_and_their_own_properties(sample: System) -> None:
    probe, single = sample.functions["Probe"], sample.functions["Single"]
    assert (probe.handler, probe.timeout_s, probe.memory_mb) == (
        "functions.probe.handler.handler", 2.0, 256,
    )  # fmt: skip
    assert probe.environment == {"STAGE": "dev", "BUS_NAME": "davinci-dev", "GREETING": "hello"}
    assert single.environment == {"STAGE": "dev", "BUS_NAME": "davinci-dev"}
    assert (probe.reserved_concurrency, single.reserved_concurrency) == (None, 1)


def test_asynchronous_settings_have_lambdas_defaults(sample: System) -> None:
    assert sample.functions["Probe"].max_retries == 2
    assert sample.functions["Probe"].failure_queue is None
    assert sample.functions["Worker"].failure_queue == "WorkDeadLetters"


def test_parameters_change_conditions() -> None:
    system = load_system(SAMPLE, parameters={"Stage": "prod"}, overridden={"DATABASE_URL"})
    assert system.functions["Probe"].environment["GREETING"] == "formal"
    assert system.buses == {"default", "davinci-prod"}


def test_routes_sources_and_schedules_name_their_function(sample: System) -> None:
    assert Route(method="ANY", path="/api/echo/{proxy+}", function="Probe") in sample.routes
    work, windowed = sample.sources
    assert (work.queue, work.batch_size, work.reports_failures) == ("Work", 5, True)
    assert (windowed.window_s, windowed.reports_failures) == (30.0, False)
    [tick] = sample.schedules
    assert (tick.name, tick.function, tick.expression) == ("WorkerTick", "Worker", "rate(1 hour)")


def test_rule_targets_know_whether_they_may_send(sample: System) -> None:
    targets = {rule.name: rule.targets[0] for rule in sample.rules}
    assert targets["WorkRule"].permitted
    assert targets["WorkRule"].dead_letter == "WorkDeadLetters"
    assert not targets["ClosedRule"].permitted
    assert targets["ClosedRule"].dead_letter == "WorkDeadLetters"
    assert targets["WindowRule"].dead_letter is None


def test_queue_keeps_its_redrive_policy(sample: System) -> None:
    work = sample.queues["Work"]
    assert (work.dead_letter, work.max_receives, work.visibility_s) == ("WorkDeadLetters", 3, 12.0)


def test_intrinsic_functions(tmp_path: Path) -> None:
    head = """
        Parameters: {Name: {Type: String, Default: blue}}
        Conditions:
          IsBlue: !Equals [!Ref Name, blue]
          IsOther: !Or [!Not [!Condition IsBlue], !And [!Condition IsBlue, !Equals [a, b]]]
    """
    system = load(
        tmp_path,
        """
        Work: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "q-${Name}"}}
        Left: {Type: AWS::SQS::Queue, Condition: IsOther}
        Secret: {Type: AWS::SecretsManager::Secret}
        F:
          Type: AWS::Serverless::Function
          Properties:
            Handler: a.b
            Environment:
              Variables:
                JOINED: !Join [",", [!Ref Name, !Ref AWS::Region]]
                QUEUE: !GetAtt Work.QueueName
                ARN: !Sub "${Work.Arn}!"
                URL: !Ref Work
                WITH: !Sub ["${extra} ${!Literal}", {extra: more}]
                NONE: !If [IsBlue, !Ref AWS::NoValue, x]
                SECRET: !Ref Secret
                FLAG: true
        """,
        head,
    )
    assert set(system.queues) == {"q-blue"}
    assert system.functions["F"].environment == {
        "JOINED": "blue,us-east-1",
        "QUEUE": "q-blue",
        "ARN": "arn:aws:sqs:us-east-1:000000000000:q-blue!",
        "URL": "https://sqs.us-east-1.amazonaws.com/000000000000/q-blue",
        "WITH": "more ${Literal}",
        "SECRET": "local:Secret",
        "FLAG": "true",
    }


F = "F: {Type: AWS::Serverless::Function, Properties: {Handler: a.b, %s}}"
API = "Api: {Type: AWS::Serverless::HttpApi}\n"
Q = "Q: {Type: AWS::SQS::Queue}\n"


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ("T: {Type: AWS::DynamoDB::Table}", "T: AWS::DynamoDB::Table is not supported"),
        (F % "DeadLetterQueue: {}", "F: DeadLetterQueue is not supported"),
        (F % "Events: {E: {Type: S3}}", "F.E: events of type S3"),
        (F % "Timeout: !Select [0, [1]]", "Fn::Select is not supported"),
        (F % "Timeout: !Ref Nobody", "Nobody is neither a parameter nor a resource"),
        (F % "Timeout: !If [Unknown, 1, 2]", "condition Unknown is not declared"),
        ("F: {Type: AWS::Serverless::Function, Properties: {}}", "F: Handler is missing"),
        ("Q: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}", "Q: FifoQueue"),
        (API + "Two: {Type: AWS::Serverless::HttpApi}", "serves one HTTP API"),
        (API + F % "Events: {E: {Type: HttpApi, Properties: {Auth: {}}}}", "F.E: Auth"),
        (
            API + F % "Events: {A: {Type: HttpApi}, B: {Type: HttpApi}}",
            "F.B: F has \\$default too",
        ),
        (API + F % "Events: {E: {Type: HttpApi, Properties: {Path: x}}}", "starts with /"),
        (
            API + F % "Events: {E: {Type: HttpApi, Properties: {Path: '/{p+}/x'}}}",
            "ends with its greedy variable",
        ),
        (
            Q + F % "Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn, BatchSize: 11}}}",
            "needs a batching window",
        ),
        (
            Q + F % "Timeout: 31, Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn}}}",
            "Q: VisibilityTimeout 30 s is shorter",
        ),
        (F % "Events: {E: {Type: SQS, Properties: {Queue: a:sqs:b:Other}}}", "is not a queue"),
        (
            Q + F % "Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn, "
            "FilterCriteria: {}}}}",
            "F.E: FilterCriteria",
        ),
        (
            F % "Events: {E: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 day), "
            "State: DISABLED}}}",
            "F.E: State",
        ),
        (
            Q + "R: {Type: AWS::Events::Rule, Properties: {EventPattern: {a: [1]}, "
            "Targets: [{Id: q, Arn: !GetAtt Q.Arn, InputPath: $.detail}]}}",
            "R.Targets: InputPath",
        ),
        (
            "R: {Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day)}}",
            "R: EventPattern is missing",
        ),
        (
            Q + "A: {Type: AWS::SQS::QueuePolicy, Properties: &p {Queues: [!Ref Q], "
            "PolicyDocument: {Statement: []}}}\nB: {Type: AWS::SQS::QueuePolicy, Properties: *p}",
            "B: Q has a policy",
        ),
    ],
)  # fmt: skip
def test_what_aws_refuses_or_the_cloud_does_not_run_is_an_error(
    tmp_path: Path, resources: str, complaint: str
) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, resources)


def test_parameter_without_a_value_is_named(tmp_path: Path) -> None:
    head = (
        "Parameters: {Host: {Type: String}, Stored: {Type: 'AWS::SSM::Parameter::Value<String>'}}"
    )
    for name in ("Host", "Stored"):
        with pytest.raises(TemplateError, match=f"parameter {name}"):
            load(tmp_path, F % f"Timeout: !Ref {name}", head)


def test_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"absent\.yaml cannot be read"):
        load_system(tmp_path / "absent.yaml")


def test_the_real_template_runs_locally() -> None:
    system = load_system(CHECKOUT / "template.yaml", overridden={"DATABASE_URL"})
    assert all(target.permitted for rule in system.rules for target in rule.targets)
    assert {source.function for source in system.sources} <= set(system.functions)


STREAMS = """
    Api: {Type: AWS::Serverless::Api, Properties: {StageName: x}}
    F:
      Type: AWS::Serverless::Function
      Properties:
        Handler: f/run.sh
        Environment:
          Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/bootstrap, AWS_LWA_INVOKE_MODE: response_stream}
        Events:
          A: {Type: Api, Properties: {RestApiId: !Ref Api, Method: post, Path: /v1/a,
              ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 900000}}
"""


def test_a_streaming_route_names_a_function_behind_the_web_adapter(tmp_path: Path) -> None:
    system = load(tmp_path, STREAMS)
    assert system.streams == (Route(method="POST", path="/v1/a", function="F", timeout_s=900.0),)
    assert system.functions["F"].serves_http
    assert system.routes == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("900000", "900001", "lasts 900 s at most"),
        ("RESPONSE_STREAM", "BUFFERED", "supported only to stream"),
        ("response_stream", "buffered", "F: a streaming route needs AWS_LAMBDA_EXEC_WRAPPER"),
        ("A: {", "B: {Type: HttpApi, Properties: {Path: /b}}\n          A: {", "REST API only"),
        ("StageName: x", "DefinitionBody: {}", "DefinitionBody is not supported"),
    ],
)
def test_what_does_not_stream_on_aws_does_not_start(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        load(tmp_path, STREAMS.replace(old, new))


def test_the_gateway_streams_what_it_also_answers_buffered() -> None:
    system = load_system(CHECKOUT / "template.yaml", parameters={"DatabaseUrl": "unused"})
    buffered = {route.key for route in system.routes}
    assert {route.key for route in system.streams} == {
        "POST /v1/chat/completions", "POST /v1/embeddings",
    }  # fmt: skip
    assert "POST /v1/chat/completions" in buffered
    [name] = {route.function for route in system.streams}
    assert os.access(CHECKOUT / system.functions[name].handler, os.X_OK)
