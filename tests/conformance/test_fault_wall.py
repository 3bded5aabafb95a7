"""Whatever a provider does, the caller gets an answer or an error in time, and it is written down.

Each row of ``faults.FAULTS`` meets the gateway buffered and streamed. A request is ``policy:...``
with two models: the first one fails, the second one is well. "In time" is the caller's deadline; a
gateway that hangs does not pass.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared.db.tables import breakers
from tests.conformance.faults import BEGUN, FAULTS, GOOD, Fault
from tests.conformance.harness import Gateway, running_gateway
from tests.fakes.streaming import DONE, delta, finish, pause, role, wait_to_be_left
from tests.fakes.upstream import hang, refusing_port, resetting_port, stream

DEADLINE_S, GRACE_S = 4.0, 0.5
WAITS_S = "0.5"
MODES = ("buffered", "streamed")
MESSAGES = [{"role": "user", "content": "Tell me a story."}]
CELLS = [
    pytest.param(fault, mode, id=f"{fault.name}, {mode}")
    for fault in FAULTS
    for mode in MODES
    if getattr(fault, mode) is not None
]


@dataclass(frozen=True)
class Told:
    """What the caller got; ``events`` are the data of a stream's events, in order."""

    status: int
    headers: httpx.Headers
    body: Any
    events: list[str]
    took_s: float

    @property
    def decision(self) -> str:
        return self.headers["x-davinci-decision-id"]

    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    def text(self) -> str:
        """Return what was said before the end or the error."""
        if not self.events:
            return str(self.body["choices"][0]["message"]["content"])
        choices = [choice for chunk in self.chunks() for choice in chunk.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.fixture(scope="module")
def wall(
    database_url: str, engine: sa.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway of little patience, with a pair of models at each place."""
    waits = {
        f"upstream_{wait}_timeout_s": WAITS_S for wait in ("connect", "first_byte", "idle")
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("wall")
    with ExitStack() as stack:
        gateway = stack.enter_context(running_gateway(database_url, engine, folder, **waits))
        _add_pair(gateway, "upstream")
        for name, port in (("refusing port", refusing_port), ("resetting port", resetting_port)):
            _add_pair(gateway, name.replace(" ", "-"), base_url=stack.enter_context(port()))
        yield gateway


@pytest.fixture
def caller(wall: Gateway) -> Iterator[httpx.Client]:
    """A client of the gateway, whose models have no past."""
    with wall.engine.begin() as connection:
        connection.execute(sa.delete(breakers))
    wall.upstream.reset()
    with wall.client() as client:
        yield client


@pytest.mark.parametrize(("fault", "mode"), CELLS)
def test_a_fault_ends_in_an_answer_or_an_error_in_time(
    wall: Gateway, caller: httpx.Client, fault: Fault, mode: str
) -> None:
    is_port = isinstance(fault.behave, str)
    name = fault.behave.replace(" ", "-") if isinstance(fault.behave, str) else "upstream"
    first, second = f"{name}/first", f"{name}/second"
    wall.upstream.behaviours = {second: GOOD}
    if not isinstance(fault.behave, str):
        wall.upstream.behaviours[first] = fault.behave

    told = _ask(caller, name, is_stream=mode == "streamed")

    assert told.took_s <= DEADLINE_S + GRACE_S
    outcome = wall.outcome(told.decision)
    story = outcome["attempts"]
    failed = [attempt for attempt in story if attempt["error_class"] is not None]
    assert bool(failed) == bool(fault.classes)
    assert {attempt["error_class"] for attempt in failed} <= fault.classes, story
    calls = [attempt["model"] for attempt in story].count(first)
    assert calls in {1, 2} if fault.calls is None else calls == fault.calls, story
    {"served": _is_served, "fallback": _is_fallen_back, "rejected": _is_rejected,
     "broken": _is_broken}[getattr(fault, mode)](told, outcome, first, second)  # fmt: skip
    if not is_port:
        called = [request["model"] for request in wall.upstream.requests]
        assert called == [attempt["model"] for attempt in story]


def _is_served(told: Told, outcome: Any, first: str, second: str) -> None:
    assert told.status == 200, told.body
    assert told.headers["x-davinci-model"] == first
    assert outcome["status"] == "success" and outcome["model"] == first
    assert outcome["error_class"] is None
    assert second not in {attempt["model"] for attempt in outcome["attempts"]}
    assert told.text().startswith(("Once", "Served well."))
    if told.events:
        assert told.events[-1] == "[DONE]" and told.events.count("[DONE]") == 1
    _is_paid(outcome)


def _is_fallen_back(told: Told, outcome: Any, first: str, second: str) -> None:
    assert told.status == 200, told.body
    assert told.headers["x-davinci-model"] == second
    assert told.text() == "Served well."
    models = [attempt["model"] for attempt in outcome["attempts"]]
    assert models == [first] * (len(models) - 1) + [second]
    assert outcome["attempts"][-2]["error_class"] is not None
    assert outcome["attempts"][-1]["error_class"] is None
    assert outcome["status"] == "success" and outcome["model"] == second
    # What failed cost nothing: the second model's counts alone.
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (5, 3)
    if told.events:
        assert told.events[-1] == "[DONE]"
    _is_paid(outcome)


def _is_rejected(told: Told, outcome: Any, _first: str, second: str) -> None:
    assert told.status == 400, told.body
    said = told.body["error"]
    assert said["type"] == "invalid_request_error" and said["message"] and not told.events
    if outcome["error_class"] == "content-filter":
        assert said["code"] == "content_filter"
    assert outcome["status"] == "error"
    assert second not in {attempt["model"] for attempt in outcome["attempts"]}
    assert not outcome["cost_usd"] and outcome["tokens_out"] == 0


def _is_broken(told: Told, outcome: Any, first: str, _second: str) -> None:
    assert told.status == 200 and told.headers["x-davinci-model"] == first
    assert told.text() == "Once upon "
    *_, last = told.chunks()
    assert last["error"]["message"] and last["error"]["type"]
    assert "[DONE]" not in told.events  # a client must not take it for a whole answer
    assert outcome["status"] == "error" and outcome["error_class"] is not None
    assert [attempt["model"] for attempt in outcome["attempts"]] == [first]
    # The provider bills what it said, so it is paid: "Once upon " is counted.
    assert 2 <= outcome["tokens_out"] <= 3 and outcome["tokens_in"] > 0
    _is_paid(outcome)


def _is_paid(outcome: Any) -> None:
    paid = outcome["tokens_in"] * 0.25e-6 + outcome["tokens_out"] * 1.25e-6
    assert outcome["cost_usd"] == pytest.approx(paid, rel=1e-9) and paid > 0


@pytest.mark.parametrize("mode", MODES)
def test_when_every_model_hangs_the_caller_is_told_by_its_own_deadline(
    wall: Gateway, caller: httpx.Client, mode: str
) -> None:
    wall.upstream.behaviours = {"upstream/first": hang, "upstream/second": hang}
    told = _ask(caller, "upstream", is_stream=mode == "streamed", deadline_s=1.0)
    assert told.took_s <= 1.0 + GRACE_S
    assert told.status == 504, told.body
    assert told.body["error"]["type"] and told.body["error"]["message"]
    outcome = wall.outcome(told.decision)
    assert outcome["status"] == "error" and "timeout" in outcome["error_class"]
    assert not outcome["cost_usd"] and outcome["tokens_out"] == 0


def test_a_stream_may_outlive_the_wait_for_its_beginning(
    wall: Gateway, caller: httpx.Client
) -> None:
    """The waits are for silence; a model that goes on talking is not cut."""
    slow = [step for word in range(6) for step in (delta(f"{word} "), pause(0.15))]
    wall.upstream.behaviours = {"upstream/first": stream(role(), *slow, finish(), DONE)}
    told = _ask(caller, "upstream", is_stream=True)
    assert told.text() == "0 1 2 3 4 5 " and told.events[-1] == "[DONE]"
    assert told.took_s > float(WAITS_S)


def test_a_client_that_leaves_ends_the_provider_call_and_is_accounted(
    wall: Gateway, caller: httpx.Client
) -> None:
    wall.upstream.behaviours = {"upstream/first": stream(*BEGUN, wait_to_be_left)}
    body = {"model": "policy:upstream", "messages": MESSAGES, "stream": True}
    with caller.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        while "upon" not in next(lines):
            pass
        decision = response.headers["x-davinci-decision-id"]
    outcome = wall.outcome(decision)
    assert outcome["model"] == "upstream/first" and outcome["error_class"] == "client-closed"
    assert 2 <= outcome["tokens_out"] <= 3
    _is_paid(outcome)
    ends_at = time.monotonic() + 5
    (account,) = wall.upstream.accounts
    while not account.is_left:  # the provider is not left generating for nobody
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def _ask(
    caller: httpx.Client, name: str, *, is_stream: bool, deadline_s: float = DEADLINE_S
) -> Told:
    body: dict[str, Any] = {"model": f"policy:{name}", "messages": MESSAGES}
    if is_stream:
        body |= {"stream": True}
    headers = {"x-davinci-timeout-s": str(deadline_s)}
    started_at = time.monotonic()
    with caller.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        content = response.read().decode()
    took_s = time.monotonic() - started_at
    assert "x-davinci-decision-id" in response.headers, (response.status_code, content)
    if not response.headers["content-type"].startswith("text/event-stream"):
        return Told(response.status_code, response.headers, json.loads(content), [], took_s)
    events = [block.partition("data: ")[2] for block in content.split("\n\n") if "data: " in block]
    return Told(response.status_code, response.headers, None, events, took_s)


def _add_pair(gateway: Gateway, name: str, **first: str) -> None:
    gateway.register(f"{name}/first", **first)
    gateway.register(f"{name}/second")
    gateway.add_policy(name, f"{name}/first", [f"{name}/second"])
