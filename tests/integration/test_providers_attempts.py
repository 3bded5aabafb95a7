"""Retries and fallbacks within one deadline, on a clock; breakers in the database."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.config import Settings
from shared.db.engine import create_engine
from shared.db.tables import breakers, models
from shared.providers.answer import Answer
from shared.providers.attempts import AllAttemptsFailedError, Delivery, call_with_fallback
from shared.providers.breaker import Breakers, Permit
from shared.providers.circuit import FAILURES
from shared.providers.deadline import Deadline
from shared.providers.failures import RETRYABLE, ErrorClass, UpstreamCallError
from shared.providers.upstream import Upstream

NAMES = ("first", "second", "third")
UPSTREAMS = [Upstream(name, "test", "http://x", name, None, "measured") for name in NAMES]
SERVES = Answer({}, 200, 12.0, 12.0, 1, 1, "provider")


class Scene:
    """Models that answer as they are told to, taking the time they are told to."""

    def __init__(self, engine: sa.Engine, *, deadline_s: float = 28.0) -> None:
        self.at = 1_000.0
        self.told: dict[str, list[Answer | UpstreamCallError]] = {name: [] for name in NAMES}
        self.takes_s = 0.0
        self.called: list[str] = []
        self.slept: list[float] = []
        self.breakers = Breakers(engine, ttl_s=0)
        self.deadline = Deadline.after(deadline_s, lambda: self.at)

    def tell(self, name: str, *answers: Answer | UpstreamCallError) -> None:
        self.told[name] = list(answers)

    def call(self, upstream: Upstream, deadline: Deadline) -> Answer:
        assert deadline is self.deadline
        self.called.append(upstream.id)
        self.at += self.takes_s
        told = self.told[upstream.id]
        answer = told.pop(0) if told else SERVES
        if isinstance(answer, UpstreamCallError):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    def run(self, upstreams: Sequence[Upstream] = UPSTREAMS) -> Delivery[Answer]:
        return call_with_fallback(
            upstreams, self.call, self.deadline, self.breakers,
            rng=random.Random(1), sleep=self.sleep,
        )  # fmt: skip

    def fails(self, upstreams: Sequence[Upstream] = UPSTREAMS) -> AllAttemptsFailedError:
        with pytest.raises(AllAttemptsFailedError) as caught:
            self.run(upstreams)
        return caught.value


def error(error_class: ErrorClass, status: int | None = None, **more: Any) -> UpstreamCallError:
    return UpstreamCallError(error_class, "failed", status=status, latency_ms=7.0, **more)


@pytest.fixture(scope="module")
def registered(database_url: str) -> Iterator[sa.Engine]:
    engine = create_engine(Settings(database_url=database_url, database_connections=2))
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE models CASCADE"))
        for name in NAMES:
            connection.execute(
                sa.insert(models).values(
                    id=name, provider="test", base_url="http://x", upstream_name=name,
                    context_tokens=1_000,
                )
            )  # fmt: skip
    yield engine
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE models CASCADE"))
    engine.dispose()


@pytest.fixture
def scene(registered: sa.Engine) -> Scene:
    _all_closed(registered)
    return Scene(registered)


def _all_closed(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(breakers))


def test_the_first_success_is_delivered_with_its_story(scene: Scene) -> None:
    delivery = scene.run()
    assert delivery.upstream.id == "first" and delivery.result is SERVES
    assert delivery.story == [
        {
            "model": "first", "error_class": None, "status": 200, "latency_ms": 12.0,
            "measured_ms": 12.0, "usage": "provider", "try": 1, "breaker": "closed",
        }
    ]  # fmt: skip
    assert scene.slept == []


@pytest.mark.parametrize(
    "failure",
    [
        error("upstream-5xx", 503),
        error("upstream-5xx"),
        error("connect", unanswered=True),
        error("cut", unanswered=True),
    ],
)
def test_a_passing_fault_is_retried_once_on_the_same_model(
    scene: Scene, failure: UpstreamCallError
) -> None:
    scene.tell("first", failure)
    delivery = scene.run()
    assert scene.called == ["first", "first"]
    assert [(a["error_class"], a["try"]) for a in delivery.story] == [
        (failure.error_class, 1),
        (None, 2),
    ]
    assert 0 <= scene.slept[0] <= 0.5
    scene.tell("first", failure, failure)
    assert scene.run().upstream.id == "second"


@pytest.mark.parametrize(
    "failure",
    [
        error("timeout"),
        error("first-byte-timeout"),
        error("idle-timeout"),
        error("timeout", 408),
        error("cut"),
        error("malformed", 200),
        error("empty", 200),
        error("content-type", 200),
        error("too-large", 200),
        error("upstream-5xx", 302),
        error("upstream-5xx", 503, should_retry=False),
        error("auth", 401),
        error("secret"),
        error("rate-limited", 429),
        error("rate-limited", 429, retry_after_s=20.0),
        error(
            "rate-limited", 429, retry_after_s=1.0, body={"error": {"code": "insufficient_quota"}}
        ),
    ],
)
def test_what_waiting_does_not_mend_goes_to_the_next_model_at_once(
    scene: Scene, failure: UpstreamCallError
) -> None:
    scene.tell("first", failure)
    delivery = scene.run()
    assert scene.called == ["first", "second"] and scene.slept == []
    assert delivery.story[0]["error_class"] == failure.error_class
    assert delivery.story[0]["status"] == failure.status
    assert delivery.story[0]["latency_ms"] == 7.0


@pytest.mark.parametrize(
    "failure", [error("rejected", 400), error("rejected", 422, should_retry=True),
                error("content-filter", 400)]
)  # fmt: skip
def test_a_request_that_was_refused_for_what_it_says_is_never_tried_again(
    scene: Scene, failure: UpstreamCallError
) -> None:
    scene.tell("second", failure)
    scene.tell("first", error("timeout"))
    failed = scene.fails()
    assert scene.called == ["first", "second"]
    assert [f.error_class for f in failed.failures] == ["timeout", failure.error_class]
    assert len(failed.story) == 2


def test_an_answer_that_the_filter_ended_is_delivered_and_told(scene: Scene) -> None:
    filtered = Answer({}, 200, 1.0, 1.0, 1, 1, "provider", filtered=True)
    scene.tell("first", filtered)
    delivery = scene.run()
    assert delivery.result is filtered and scene.called == ["first"]
    assert delivery.story[0]["error_class"] == "content-filter"


def test_a_short_retry_after_is_waited_for_and_then_tried(scene: Scene) -> None:
    # The breaker's clock is the database's, which no test can turn.
    scene.tell("first", error("rate-limited", 429, retry_after_s=0.0))
    delivery = scene.run()
    assert scene.called == ["first", "first"] and len(scene.slept) == 1
    assert [a["breaker"] for a in delivery.story] == ["closed", "probe"]


def test_the_last_model_is_waited_for_as_long_as_the_deadline_allows(scene: Scene) -> None:
    alone = UPSTREAMS[:1]
    scene.tell("first", error("rate-limited", 429, retry_after_s=10.0))
    failed = scene.fails(alone)
    # It waited, and found the breaker still open, as only this scene's clock has moved on.
    assert 10.0 < scene.slept[0] < 11.0
    assert [a["error_class"] for a in failed.story] == ["rate-limited", "breaker-open"]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(registered: sa.Engine) -> None:
    _all_closed(registered)
    scene = Scene(registered, deadline_s=9.0)
    scene.tell("first", error("rate-limited", 429, retry_after_s=9.0))
    failed = scene.fails(UPSTREAMS[:1])
    assert scene.slept == [] and scene.called == ["first"]
    assert failed.failures[-1].retry_after_s == 9.0


def test_no_model_is_asked_when_no_time_is_left(registered: sa.Engine) -> None:
    _all_closed(registered)
    scene = Scene(registered, deadline_s=28.0)
    scene.takes_s = 14.0
    for name in NAMES:
        scene.tell(name, error("timeout"))
    failed = scene.fails()
    assert scene.called == ["first", "second"] and len(failed.failures) == 2


def test_an_open_breaker_costs_no_time_and_is_told(scene: Scene) -> None:
    for _ in range(FAILURES):
        scene.breakers.failed(Permit("first"), error("connect"))
    delivery = scene.run()
    assert scene.called == ["second"]
    assert delivery.story[0] == {
        "model": "first", "error_class": "breaker-open", "status": None, "latency_ms": 0.0,
        "measured_ms": 0.0, "usage": None, "try": 1, "breaker": "open",
    }  # fmt: skip


def test_when_every_breaker_is_open_it_says_when_to_come_back(scene: Scene) -> None:
    for name in NAMES:
        scene.breakers.failed(Permit(name), error("rate-limited", 429, retry_after_s=30.0))
    failed = scene.fails()
    assert scene.called == []
    assert all(f.error_class == "breaker-open" for f in failed.failures)
    assert all(29.0 < (f.retry_after_s or 0) <= 30.0 for f in failed.failures)


def test_a_model_that_keeps_failing_is_left_alone_and_comes_back(scene: Scene) -> None:
    alone = UPSTREAMS[:1]
    for _ in range(FAILURES):
        scene.tell("first", error("timeout"))
        scene.fails(alone)
    assert scene.fails(alone).failures[-1].error_class == "breaker-open"
    past = sa.func.clock_timestamp() - sa.text("interval '1 second'")
    with scene.breakers._engine.begin() as connection:
        connection.execute(sa.update(breakers).values(open_until=past))
    delivery = scene.run(alone)
    assert delivery.story[-1]["breaker"] == "probe"
    assert scene.run(alone).story[-1]["breaker"] == "closed"


def test_a_bug_gives_the_probe_back(scene: Scene) -> None:
    scene.breakers.failed(Permit("first"), error("rate-limited", 429, retry_after_s=0.0))

    def breaks(upstream: Upstream, deadline: Deadline) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_with_fallback(UPSTREAMS, breaks, scene.deadline, scene.breakers)
    assert scene.breakers.admit("first") == Permit("first", probe=True)


_ANY_FAILURE = st.builds(
    error,
    st.sampled_from(sorted(RETRYABLE | {"rejected", "content-filter"} - {"breaker-open"})),
    st.sampled_from([None, 200, 302, 400, 401, 403, 429, 500, 503]),
    retry_after_s=st.sampled_from([None, 0.0, 0.5, 3.0, 1e6]),
    should_retry=st.sampled_from([None, True, False]),
    unanswered=st.booleans(),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(
        st.lists(st.one_of(st.just(SERVES), _ANY_FAILURE), max_size=3), min_size=3, max_size=3
    ),
    takes_s=st.floats(0, 12),
    deadline_s=st.floats(0.1, 40),
)
def test_whatever_happens_the_deadline_the_tries_and_the_story_hold(
    registered: sa.Engine, told: list[list[Any]], takes_s: float, deadline_s: float
) -> None:
    _all_closed(registered)
    scene = Scene(registered, deadline_s=deadline_s)
    scene.takes_s = takes_s
    for name, answers in zip(NAMES, told, strict=True):
        scene.tell(name, *answers)
    failures = 0
    try:
        story = scene.run().story
    except AllAttemptsFailedError as failed:
        story, failures = failed.story, len(failed.failures)
    assert len(story) == failures or (failures == 0 and story[-1]["error_class"] is None)
    assert story
    # Nobody sleeps past the deadline, and nobody begins after it but the very first.
    assert scene.at <= scene.deadline.at + takes_s or len(scene.called) == 1
    assert all(scene.called.count(name) <= 2 for name in NAMES)
    # Models are tried in order, and nothing follows a refusal.
    assert [a["model"] for a in story] == sorted((a["model"] for a in story), key=NAMES.index)
    refusals = [a["error_class"] for a in story[:-1]]
    assert "rejected" not in refusals and "content-filter" not in refusals
