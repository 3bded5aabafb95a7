"""Schemathesis against the published document: every check, every phase, one seed a run.

What a person would call the same run is the same here: a seed fixes every request.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
import yaml
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import ObjectLevelAuthorizationViolation, RejectedPositiveData

from shared.auth.access import ACCESS

# What no schema can say, because it depends on what is stored, or on a signature, or compares two
# members. Where an answer's every fault is one of these, the request did fit the schema.
BEYOND_SCHEMAS = re.compile(
    r"is not (a )?registered( model)?|^not a cursor of this API$|^not a sequence$"
    r"|primary must be one of models|makes no embeddings|since must be before until"
    r"|^from must be before to$|^it is in the past$"
    r"|no address holds a NUL character$"
    r"|^An anchor is a number and a hash"
    r"|what is in brackets is not an IPv6 address"
)
UNKNOWN_HEADER = "x-schemathesis-unknown-property"
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@schemathesis.check
def problem_type_is_documented(_context: Any, response: Any, case: Any) -> None:
    """Every error's type is among those that the document shows for the operation and status."""
    raw = case.operation.schema.raw_schema
    operation = raw["paths"].get(case.operation.path, {}).get(case.method.lower(), {})
    documented = operation.get("responses", {}).get(str(response.status_code))
    if response.status_code < 400 or documented is None or "$ref" not in documented:
        return
    answer = raw["components"]["responses"][documented["$ref"].rpartition("/")[2]]
    (content,) = answer["content"].values()
    shown = [raw["components"]["examples"][name] for name in _named(content["examples"])]
    said = response.json()
    if "error" in said:
        known = {example["value"]["error"]["code"] for example in shown}
        assert said["error"]["code"] in known, f"{said['error']['code']} is not among {known}"
    else:
        known = {example["value"]["type"] for example in shown}
        assert said["type"] in known, f"{said['type']} is not among {known}"


def _named(examples: dict[str, dict[str, str]]) -> list[str]:
    return [example["$ref"].rpartition("/")[2] for example in examples.values()]


@dataclass
class Run:
    """What one run did and found."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Return what was found, each failure once with the request that shows it."""
        head = (
            f"{sum(self.requests.values())} requests to {len(self.operations)} operations, "
            f"{sum(self.checks.values())} checks, {len(self.failures)} failures"
        )
        return "\n\n".join([head, *self.failures.values(), *self.errors])


def configuration(
    seed: int, max_examples: int, identities: Path, peers: list[str]
) -> dict[str, Any]:
    """Return Schemathesis' configuration: everything on, and each expectation that differs."""
    accepted = ["2xx", "401", "403", "404", "409", "412", "413", "414", "428", "429", "431"]
    refused = [*accepted[1:], "400", "405", "415", "422"]
    upstream = ["502", "503", "504"]
    return {
        "seed": seed,
        "output": {"sanitization": {"enabled": False}},
        "generation": {"max-examples": max_examples, "database": "none"},
        "auth": {"wfc": {"path": str(identities), "peers": peers}},
        "checks": {
            # What fits the schema may still be too long as a whole (413, 414, 431).
            "positive_data_acceptance": {"expected-statuses": accepted},
            "negative_data_rejection": {"expected-statuses": refused},
        },
        "operations": [
            {
                # A model that does not answer, or not in the time given, is no failure of ours.
                "include-tag": "gateway",
                "checks": {
                    "not_a_server_error": {"expected-statuses": ["2xx", "4xx", *upstream]},
                    "positive_data_acceptance": {"expected-statuses": [*accepted, *upstream]},
                    "negative_data_rejection": {"expected-statuses": [*refused, *upstream]},
                },
            },
        ],
    }


def fuzz(
    app: Any, document: dict[str, Any], config: dict[str, Any], *, phases: tuple[str, ...] = PHASES
) -> Run:
    """Run the phases against the application and return what happened."""
    config = {**config, "phases": {name: {"enabled": name in phases} for name in PHASES}}
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))
    schema.app = app
    run = Run()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _record(run, event)
        elif isinstance(event, events.NonFatalError):
            run.errors.append(f"{event.label}: {event.info.format()}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.EngineFinished):
            for failure in event.failures:
                run.failures.setdefault(f"{failure.title}", f"{failure.title}\n{failure.message}")
    return run


def _record(run: Run, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        run.phases[event.phase.value] += 1
        case = recorder.cases[case_id].value
        run.requests[case.operation.label] += 1
        run.operations.add(case.operation.label)
        if interaction.response is not None:
            run.statuses[interaction.response.status_code] += 1
    for case_id, nodes in recorder.checks.items():
        case = recorder.cases[case_id].value
        for node in nodes:
            run.checks[node.name] += 1
            if node.failure_info is None:
                continue
            failure = node.failure_info.failure
            key = f"{case.operation.label} {node.name} {failure.title}"
            if key in run.failures:
                continue
            answer = recorder.interactions[case_id].response
            said = (answer.content or b"")[:600].decode(errors="replace") if answer else "nothing"
            status = answer.status_code if answer else "-"
            sample = re.sub("Bearer [^']+", "Bearer ...", node.failure_info.code_sample)[:2_000]
            run.failures[key] = "\n".join(
                [f"{key} [{event.phase.value}]", failure.message, sample, f"-> {status} {said}"]
            )


def write_identities(path: Path, tokens: dict[str, str]) -> None:
    """Write a Web Fuzzing Commons document: one named user a token."""
    path.write_text(
        yaml.safe_dump(
            {
                "auth": [
                    {
                        "name": name,
                        "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}],
                    }
                    for name, token in tokens.items()
                ]
            }
        )
    )


@contextmanager
def hooked(change: Callable[[Any, Any, dict[str, Any]], None]) -> Iterator[None]:
    """Let ``change`` mend every request before it is sent, and judge what checks found."""
    schemathesis.hook("before_call")(change)
    schemathesis.hook("filter_failure")(_is_a_failure)
    try:
        yield
    finally:
        schemathesis.hooks.unregister_all()


def _is_a_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return False for what the check could not know."""
    if isinstance(failure, RejectedPositiveData) and response.status_code in {400, 422}:
        return not _is_beyond_schemas(response)
    if isinstance(failure, AcceptedNegativeData) and UNKNOWN_HEADER in (case.headers or {}):
        # Any client may send headers of its own; where a declared one is a number the check
        # takes the unknown one for the fault.
        return False
    if isinstance(failure, ObjectLevelAuthorizationViolation):
        # One deployment serves one organisation: what viewers may read belongs to all of it.
        operation_id = case.operation.definition.raw["operationId"]
        return ACCESS[operation_id].role != "viewer"
    return True


def _is_beyond_schemas(response: Any) -> bool:
    body = response.json()
    kind = body.get("type") or body["error"]["code"]
    if kind.replace("_", "-").endswith(("no-eligible-model", "idempotency-key-reused")):
        return True
    if "error" in body:
        return bool(BEYOND_SCHEMAS.search(body["error"]["message"]))
    said = [fault["detail"] for fault in body["errors"]]
    return bool(BEYOND_SCHEMAS.search(body["detail"])) or (
        bool(said) and all(BEYOND_SCHEMAS.search(detail) for detail in said)
    )
