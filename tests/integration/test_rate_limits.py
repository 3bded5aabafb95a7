"""Limits are exact, however many processes ask at once, and told with every answer."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa
from http_sfv.list import List
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.auth.access import ACCESS
from shared.db.tables import decisions
from shared.kit.ids import uuid7
from shared.limits import Bucket, admit, charge, delete_full
from tests.architecture.test_routes import app_routes
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration import rate_limit_workers
from tests.integration.conftest import ADMIN, process_with

MakeKey = Callable[..., LambdaClient]
PROCESSES = 16
SEEDS = range(20)
NS = 1_000_000_000
# Divisors of a minute in nanoseconds: the model below needs no rounding.
LIMITS = st.sampled_from([1, 2, 3, 5, 6, 10, 12, 60])


@pytest.fixture(scope="module")
def autocommit(engine: sa.Engine) -> sa.Engine:
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def in_processes(work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run ``work(url, barrier, results, *arguments)`` in a process each; return what they told."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.integration.rate_limit_workers"])
    barrier, results = context.Barrier(len(arguments)), context.Queue()
    processes = [
        context.Process(target=work, args=(given_url, barrier, results, *more))
        for given_url, *more in arguments
    ]
    for process in processes:
        process.start()
    n_results = len(arguments) * (len(SEEDS) if work is rate_limit_workers.races else 1)
    told = [results.get(timeout=60) for _ in range(n_results)]
    for process in processes:
        process.join(10)
        assert process.exitcode == 0
    return told


def test_sixteen_processes_are_admitted_exactly_as_often_as_the_limit_says(
    database_url: str, autocommit: sa.Engine
) -> None:
    attempts = 8  # 128 in all, above every limit of the seeds
    told = in_processes(
        rate_limit_workers.races,
        [(database_url, place, SEEDS, attempts) for place in range(PROCESSES)],
    )
    admitted: Counter[int] = Counter()
    for seed, _, passed in told:
        admitted[seed] += passed
    limits = {seed: [b.limit for b in rate_limit_workers.buckets_of(seed)] for seed in SEEDS}
    assert dict(admitted) == {seed: min(limits[seed]) for seed in SEEDS}
    # All or nothing: what the tighter bucket refused was not charged to the wider one.
    with autocommit.connect() as connection:
        for seed in SEEDS:
            wide = max(rate_limit_workers.buckets_of(seed), key=lambda bucket: bucket.limit)
            left = max(limits[seed]) - min(limits[seed])
            for _ in range(left):
                assert admit(connection, [wide]).admitted
            assert not admit(connection, [wide]).admitted


def test_no_span_of_time_admits_more_than_burst_and_refill(database_url: str) -> None:
    bucket = Bucket("default", uuid7().hex, 40, 1)
    told = in_processes(rate_limit_workers.follow_the_clock, [(database_url, bucket, 1.5)] * 4)
    history = [span for process in told for span in process]
    assert len(history) >= bucket.limit + bucket.limit // 2  # it was refilled, too
    for begin in {before for before, _ in history}:
        ends = sorted(after for before, after in history if before >= begin)
        for count, end in enumerate(ends, start=1):
            assert count <= bucket.limit + bucket.limit / bucket.window_s * (end - begin)


class Model:
    """Token buckets, with exact fractions and a clock that is told."""

    def __init__(self, limits: Sequence[int]) -> None:
        self.limits = limits
        self.tokens = [Fraction(limit) for limit in limits]

    def ask(self, costs: Sequence[int], passed_s: Fraction) -> bool:
        full = zip(self.tokens, self.limits, strict=True)
        self.tokens = [min(Fraction(n), t + passed_s * n / 60) for t, n in full]
        admitted = all(t >= cost for t, cost in zip(self.tokens, costs, strict=True))
        if admitted:
            self.tokens = [t - cost for t, cost in zip(self.tokens, costs, strict=True)]
        return admitted


@settings(max_examples=60)
@given(
    limits=st.lists(LIMITS, min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 7), min_size=3, max_size=3), st.integers(0, 40 * NS)),
        max_size=12,
    ),
)
def test_the_database_decides_as_token_buckets_do(
    autocommit: sa.Engine, limits: list[int], steps: list[tuple[list[int], int]]
) -> None:
    model, subject, now_ns = Model(limits), uuid7().hex, 1_700_000_000 * NS
    with autocommit.connect() as connection:
        for all_costs, passed_ns in steps:
            now_ns += passed_ns
            costs = all_costs[: len(limits)]
            buckets = [
                Bucket(f"b{place}", subject, limit, 60, cost)
                for place, (limit, cost) in enumerate(zip(limits, costs, strict=True))
            ]
            verdict = admit(connection, buckets, now_ns=now_ns)
            assert verdict.admitted is model.ask(costs, Fraction(passed_ns, NS))
            if verdict.admitted:
                assert verdict.remaining == min(map(int, model.tokens))
                continue
            place = int(verdict.policy[1:])
            lacking = costs[place] - model.tokens[place]
            assert verdict.policy in verdict.violated and lacking > 0
            # Rounded up to whole seconds, and enough.
            assert 0 <= verdict.retry_after_s - lacking * 60 / limits[place] < 1


def test_a_clock_that_goes_back_admits_nothing_more(autocommit: sa.Engine) -> None:
    bucket, now_ns = Bucket("default", uuid7().hex, 2, 60), 1_700_000_000 * NS
    with autocommit.connect() as connection:
        assert [
            admit(connection, [bucket], now_ns=now_ns - back * NS).admitted for back in range(4)
        ] == [True, False, False, False]


def test_a_correction_is_charged_and_given_back(autocommit: sa.Engine) -> None:
    subject = uuid7().hex
    tokens = Bucket("tpm", subject, 1_000, rate_limit_workers.FOREVER_S, cost=600)
    one = Bucket("tpm", subject, 1_000, rate_limit_workers.FOREVER_S)
    with autocommit.connect() as connection:
        assert admit(connection, [tokens]).remaining == 400
        charge(connection, tokens, -500)  # it was 100
        assert admit(connection, [tokens]).remaining == 300
        charge(connection, tokens, 900)  # it was 1,500: the next callers wait for it
        refused = admit(connection, [one])
        assert not refused.admitted and refused.remaining == 0
        charge(connection, tokens, -10_000)  # never better than full
        assert admit(connection, [one]).remaining == 999


def test_full_buckets_are_deleted_and_the_others_kept(
    autocommit: sa.Engine, clean_database: None
) -> None:
    with autocommit.connect() as connection:
        admit(connection, [Bucket("default", "old", 10, 60)], now_ns=NS)
        admit(connection, [Bucket("default", "new", 1, 60)])
        assert delete_full(connection) == 1
        assert not admit(connection, [Bucket("default", "new", 1, 60)]).admitted


def test_one_hot_key_costs_the_others_no_admission(
    autocommit: sa.Engine, clean_database: None
) -> None:
    everybody = Bucket("global", "all", 10_000, 60)

    def ask(index: int) -> list[bool]:
        caller = Bucket("default", "hot" if index < 6 else f"cool-{index}", 20, 600)
        with autocommit.connect() as connection:
            return [admit(connection, [caller, everybody]).admitted for _ in range(20)]

    told = at_once(10, ask)
    assert sum(map(sum, told[:6])) == 20
    assert all(all(cool) for cool in told[6:])


# ---------------------------------------------------------------- through the handlers


@contextmanager
def limit_of(per_minute: int) -> Iterator[None]:
    with process_with({"DAVINCI_RATE_LIMIT_CALLER_PER_MINUTE": str(per_minute)}):
        yield


def quota_of(answer: Answer) -> tuple[str, int, int, int, int]:
    """Return (name, q, w, r, t) of an answer's structured fields, by their types."""
    policy, state = List(), List()
    policy.parse(answer.headers["ratelimit-policy"].encode())
    state.parse(answer.headers["ratelimit"].encode())
    assert len(policy) == len(state) == 1
    # A bare token would parse, too; the draft wants Strings.
    assert type(policy[0].value) is str and type(state[0].value) is str
    assert policy[0].value == state[0].value
    figures = [*(policy[0].params[n] for n in "qw"), *(state[0].params[n] for n in "rt")]
    assert all(type(figure) is int and figure >= 0 for figure in figures)
    assert figures[1] > 0
    old = [int(answer.headers[f"x-ratelimit-{n}"]) for n in ("limit", "remaining", "reset")]
    assert old == [figures[0], figures[2], figures[3]]
    return (policy[0].value, *figures)


def test_every_limited_answer_tells_what_is_left(make_key: MakeKey) -> None:
    client = make_key("read")
    with limit_of(3):
        answers = [
            client.get("/api/models"),
            client.get("/api/models", {"cursor": "nonsense"}),
            client.post("/api/models", {}),
            client.get("/api/models"),
        ]
    assert [answer.status for answer in answers] == [200, 422, 403, 429]
    quotas = [quota_of(answer) for answer in answers]
    assert [q[:4] for q in quotas] == [("default", 3, 60, r) for r in (2, 1, 0, 0)]
    # A minute is three requests: after the first one the bucket is full again in 20 s.
    assert 18 <= quotas[0][4] <= 20 < quotas[1][4]


def test_a_refusal_is_a_problem_of_the_registered_type(make_key: MakeKey) -> None:
    client = make_key("read")
    with limit_of(1):
        client.get("/api/models")
        refused = client.get("/api/models")
    assert refused.status == 429
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["violated-policies"] == ["default"]
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert f"{refused.headers['retry-after']} s" in body["detail"]


def test_the_official_client_sees_a_rate_limit_error(make_key: MakeKey) -> None:
    client = make_key("chat")
    with limit_of(1):
        client.get("/v1/models")
        refused = client.get("/v1/models")
    answer = httpx.Response(refused.status, headers=refused.headers, text=refused.body)
    # The client takes any of httpx's kind, whatever its annotation says.
    transport: Any = httpx.Client(transport=httpx.MockTransport(lambda _request: answer))
    with transport, pytest.raises(openai.RateLimitError) as caught:
        openai.OpenAI(
            api_key="x", base_url="http://davinci.test/v1", max_retries=0, http_client=transport
        ).models.list()
    assert (caught.value.type, caught.value.code) == ("requests", "rate_limit_exceeded")


def test_callers_have_buckets_of_their_own_and_share_the_global_one(make_key: MakeKey) -> None:
    first, second = make_key("read"), make_key("read")
    with limit_of(2):
        assert [first.get("/api/models").status for _ in range(3)] == [200, 200, 429]
        assert second.get("/api/models").status == 200
    with process_with({"DAVINCI_RATE_LIMIT_GLOBAL_PER_MINUTE": "1"}):
        second.get("/api/models")
        refused = second.get("/api/models")
    assert refused.status == 429 and refused.json()["violated-policies"] == ["global"]
    assert quota_of(refused)[0] == "global"


def test_a_key_may_have_its_own_limit(admin: LambdaClient) -> None:
    wanted = {"name": "slow", "scopes": ["read"], "rpm": 2}
    slow = admin.with_token(admin.post("/api/keys", wanted).json()["secret"])
    assert [slow.get("/api/models").status for _ in range(3)] == [200, 200, 429]
    assert admin.get("/api/models").status == 200


def test_a_route_may_have_its_own_limit(make_key: MakeKey) -> None:
    client = make_key("manage", "read")
    limit = ACCESS["learning_rebuild"].per_minute
    assert limit is not None and limit < 1_000
    answers = [client.post("/api/learning/rebuild") for _ in range(limit + 1)]
    assert [answer.status for answer in answers] == [200] * limit + [429]
    assert answers[-1].json()["violated-policies"] == ["learning_rebuild"]
    assert client.get("/api/models").status == 200


def test_logging_in_is_limited_by_address(admin: LambdaClient) -> None:
    limit = ACCESS["auth_login"].per_minute
    assert limit is not None and limit <= 60
    wrong = {"email": "nobody@davinci.local", "password": "x" * 12}
    with_address = LambdaClient(admin.template, source_ip="2001:db8:1:2::1")
    statuses = {with_address.post("/api/auth/login", {}).status for _ in range(limit)}
    assert statuses == {422}
    # An IPv6 client has a network of addresses.
    neighbour = LambdaClient(admin.template, source_ip="2001:db8:1:2:ffff::2")
    refused = neighbour.post("/api/auth/login", wrong)
    assert refused.status == 429 and refused.json()["violated-policies"] == ["auth_login"]
    elsewhere = LambdaClient(admin.template, source_ip="2001:db8:1:3::1")
    assert elsewhere.post("/api/auth/login", wrong).status == 401


def test_public_documents_and_health_are_not_limited(api: LambdaClient) -> None:
    for path in ("/health", "/api/health", "/openapi.json", "/docs", "/api/auth/jwks", "/"):
        assert "ratelimit" not in api.get(path).headers


# ---------------------------------------------------------------- without the limiter


@contextmanager
def limiter_broken(engine: sa.Engine) -> Iterator[None]:
    rename = "ALTER TABLE {} RENAME TO {}"
    with engine.begin() as connection:
        connection.execute(sa.text(rename.format("rate_limits", "rate_limits_away")))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(rename.format("rate_limits_away", "rate_limits")))


def test_without_the_limiter_reads_go_on_and_writes_wait(
    make_key: MakeKey, registry: list[str], engine: sa.Engine
) -> None:
    client = make_key("read", "route", "manage")
    with limiter_broken(engine):
        for path in ("/api/models", "/api/events", "/api/neural/history", "/api/keys"):
            answer = client.get(path)
            assert answer.status == 200 and "ratelimit" not in answer.headers
        for path, body in (
            ("/api/neural/route", {"prompt": "x"}),
            ("/api/learning/evaluate", {"target": {"model": registry[0]}}),
            ("/api/models", {}),
        ):
            refused = client.post(path, body)
            assert refused.status == 503 and refused.headers["retry-after"] == "2"
            assert refused.json()["type"].endswith("/limiter-unavailable")
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 0
    assert client.post("/api/neural/route", {"prompt": "x"}).status == 200


def test_without_the_limiter_nobody_logs_in(admin: LambdaClient, engine: sa.Engine) -> None:
    right = {"email": ADMIN[0], "password": ADMIN[1]}
    with limiter_broken(engine):
        assert admin.post("/api/auth/login", right).status == 503
        assert admin.post("/api/auth/refresh", {"refresh_token": "x"}).status == 503
        assert admin.get("/api/models").status == 200
    assert admin.post("/api/auth/login", right).status == 200


def test_only_reads_are_let_through_without_the_limiter() -> None:
    for route, (_, operation) in app_routes().items():
        if ACCESS[operation].fail_open:
            assert route.startswith("GET "), route
