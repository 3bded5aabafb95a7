"""The database engine's traps: resets, black holes, pinning, what autocommit leaves behind."""

from __future__ import annotations

import gc
import re
import ssl
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from shared.config import Settings
from shared.db.engine import create_engine, single_statement, transaction
from shared.errors import DatabaseUnavailableError, InvalidInputError
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import process_with

ONE = sa.text("SELECT 1")


def url_of(proxy: TcpProxy) -> str:
    return f"postgresql+pg8000://davinci@127.0.0.1:{proxy.port}/davinci"


@pytest.fixture
def make_engine(proxy: TcpProxy) -> Iterator[Callable[..., sa.Engine]]:
    made: list[sa.Engine] = []

    def make(**more: object) -> sa.Engine:
        settings = Settings.model_validate({"DATABASE_URL": url_of(proxy), **more})
        made.append(create_engine(settings))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
    gc.collect()


@pytest.mark.parametrize("cut", ["reset", "reset_when_spoken_to", "finish"])
@pytest.mark.parametrize("way", [transaction, single_statement])
def test_a_connection_cut_while_idle_is_replaced_unseen(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy, cut: str, way: Callable[..., object]
) -> None:
    # A peer that resets only when spoken to shows nothing before: such silence needs the ping.
    engine = make_engine(database_trusted_idle_s=0.01 if cut == "reset_when_spoken_to" else 60)
    for _ in range(3):
        with way(engine) as connection:  # type: ignore[attr-defined]
            assert connection.scalar(ONE) == 1
        getattr(proxy, cut)()
        time.sleep(0.1)
    assert len(proxy.sent) == 3


def test_a_connection_that_just_answered_is_not_pinged(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    said = []
    for idle_s in (60, 0):
        engine = make_engine(database_trusted_idle_s=idle_s)
        with single_statement(engine) as connection:
            connection.scalar(ONE)
        proxy.sent[-1].clear()
        with single_statement(engine) as connection:
            connection.scalar(ONE)
        said.append(bytes(proxy.sent[-1]).count(b"Q\0\0"))
    assert said == [1, 2]


def test_a_statement_with_parameters_is_one_message(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    engine = make_engine()
    with single_statement(engine) as connection:
        connection.scalar(ONE)
        proxy.sent[0].clear()
        question = sa.text("SELECT :text || E'%s' || '$1'").bindparams(text="ä€\U0001f600")
        assert connection.scalar(question) == "ä€\U0001f600%s$1"
        kinds = re.findall(rb"[PBDES]\x00\x00", bytes(proxy.sent[0]))
    assert kinds == [b"P\0\0", b"B\0\0", b"D\0\0", b"E\0\0", b"S\0\0"]


@pytest.mark.parametrize("cut", ["reset", "finish"])
def test_a_connection_cut_in_the_middle_is_unavailable_and_then_replaced(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy, cut: str
) -> None:
    engine = make_engine()
    with pytest.raises(DatabaseUnavailableError), transaction(engine) as connection:  # noqa: PT012
        connection.scalar(ONE)
        getattr(proxy, cut)()
        time.sleep(0.1)
        connection.scalar(ONE)
    with single_statement(engine) as connection:
        assert connection.scalar(ONE) == 1


def test_a_black_hole_ends_at_the_timeout_and_its_late_answer_is_nobodys(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    engine = make_engine(database_timeout_s=0.5)
    started_at = time.monotonic()
    with pytest.raises(DatabaseUnavailableError), single_statement(engine) as connection:  # noqa: PT012
        assert connection.scalar(ONE) == 1
        proxy.freeze()
        connection.scalar(sa.text("SELECT 'late'"))
    assert time.monotonic() - started_at < 2
    proxy.thaw()
    for n in range(3):
        with single_statement(engine) as connection:
            assert connection.scalar(sa.text(f"SELECT {n}")) == n


def test_a_server_that_refuses_is_unavailable(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    engine = make_engine()
    proxy.refusing = True
    with pytest.raises(DatabaseUnavailableError), transaction(engine):
        pass
    proxy.refusing = False
    with transaction(engine) as connection:
        assert connection.scalar(ONE) == 1


def test_an_exhausted_pool_is_unavailable_not_a_wait_for_ever(
    make_engine: Callable[..., sa.Engine],
) -> None:
    engine = make_engine(database_timeout_s=0.2)
    with transaction(engine), pytest.raises(DatabaseUnavailableError), transaction(engine):
        pass
    with transaction(engine) as connection:
        assert connection.scalar(ONE) == 1


def test_connections_are_kept_and_bounded(
    make_engine: Callable[..., sa.Engine], proxy: TcpProxy
) -> None:
    engine = make_engine(database_connections=2)
    for _ in range(10):
        with transaction(engine) as one, transaction(engine) as two:
            assert one.scalar(ONE) == two.scalar(ONE) == 1
    assert len(proxy.sent) == 2


def test_connecting_does_not_load_certificates_again(
    make_engine: Callable[..., sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg8000 reads the CA bundle at every connect unless told otherwise: 30 ms each."""
    engine = make_engine()
    loaded: list[object] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda *a, **k: loaded.append(a))
    for _ in range(3):
        engine.dispose()
        with single_statement(engine) as connection:
            assert connection.scalar(ONE) == 1
    assert loaded == []


def test_a_required_tls_that_the_server_lacks_is_refused(
    proxy: TcpProxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import certifi

    settings = Settings.model_validate(
        {"DATABASE_URL": url_of(proxy), "database_ca_file": certifi.where()}
    )
    engine = create_engine(settings)
    with pytest.raises(DatabaseUnavailableError), transaction(engine):
        pass
    engine.dispose()
    assert b"davinci" not in proxy.sent[0]  # not even the user's name went out in the clear


class TestSingleStatement:
    def test_each_statement_is_durable_at_once(
        self, engine: sa.Engine, make_engine: Callable[..., sa.Engine]
    ) -> None:
        ours = make_engine()
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE IF NOT EXISTS scratch (n int)"))
        try:
            with pytest.raises(RuntimeError), single_statement(ours) as connection:  # noqa: PT012
                connection.execute(sa.text("INSERT INTO scratch VALUES (1)"))
                with engine.connect() as other:
                    assert other.scalar(sa.text("SELECT count(*) FROM scratch")) == 1
                raise RuntimeError
            with pytest.raises(RuntimeError), transaction(ours) as connection:  # noqa: PT012
                connection.execute(sa.text("INSERT INTO scratch VALUES (2)"))
                raise RuntimeError
            with engine.connect() as other:
                assert other.scalars(sa.text("SELECT n FROM scratch")).all() == [1]
        finally:
            with engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE scratch"))

    def test_the_connection_goes_back_clean(self, make_engine: Callable[..., sa.Engine]) -> None:
        engine = make_engine()
        with pytest.raises(sa.exc.ProgrammingError), single_statement(engine) as connection:
            connection.execute(sa.text("SELECT nonsense"))
        state = sa.text("SELECT txid_current_if_assigned() IS NULL, now() < clock_timestamp()")
        for _ in range(2):
            with transaction(engine) as connection:
                assert connection.connection.dbapi_connection.autocommit is False  # type: ignore[union-attr]
                assert connection.execute(state).one() == (True, True)
            with single_statement(engine) as connection:
                assert connection.execute(state).one() == (True, True)

    def test_it_sends_no_begin_and_no_commit(
        self, make_engine: Callable[..., sa.Engine], proxy: TcpProxy
    ) -> None:
        engine = make_engine()
        with single_statement(engine) as connection:
            connection.scalar(ONE)
            proxy.sent[0].clear()
            connection.scalar(ONE)
        time.sleep(0.1)
        assert b"SELECT 1" in proxy.sent[0]
        assert not re.search(rb"(?i)\b(begin|commit|rollback)\b", proxy.sent[0])


@pytest.mark.parametrize("value", ["a\x00b", 2**70])
def test_what_cannot_be_stored_is_the_inputs_fault(engine: sa.Engine, value: object) -> None:
    kind = "text" if isinstance(value, str) else "bigint"
    settings = Settings.model_validate(
        {"DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    )
    ours = create_engine(settings)
    with pytest.raises(InvalidInputError), transaction(ours) as connection:
        connection.execute(sa.text(f"SELECT CAST(:v AS {kind})"), {"v": value})
    ours.dispose()


def messages_of(stream: bytes) -> list[tuple[str, bytes]]:
    """Split what a client sent into PostgreSQL's messages, after the start-up message."""
    position = int.from_bytes(stream[:4], "big")
    found = []
    while position < len(stream):
        length = int.from_bytes(stream[position + 1 : position + 5], "big")
        found.append((chr(stream[position]), bytes(stream[position + 5 : position + 1 + length])))
        position += 1 + length
    return found


def test_nothing_that_pins_a_connection_is_ever_sent(
    admin: LambdaClient, make_key: Callable[..., LambdaClient], registry: list[str],
    proxy: TcpProxy, upstream: FakeUpstream,
) -> None:  # fmt: skip
    """RDS Proxy pins on SET, on named prepared statements, on temporary objects and on locks."""
    client = make_key("chat", "route", "feedback", "read", "manage")
    with process_with({"DATABASE_URL": url_of(proxy)}):
        chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
        served = client.post("/v1/chat/completions", chat, headers={"x-davinci-session": "s"})
        assert served.status == 200
        decision_id = served.headers["x-davinci-decision-id"]
        client.post("/api/learning/feedback", {"decision_id": decision_id, "score": 1})
        client.post("/api/neural/route", {"prompt": "x"})
        client.patch("/api/models/test/small", {"region": "eu"}, headers={"if-match": "*"})
        admin.post("/api/auth/refresh", {"refresh_token": "x"})
        for path in (
            "/health",
            "/api/status",
            "/api/events",
            "/api/neural/history",
            "/api/neural/status",
            "/api/learning/metrics",
            "/api/policies",
        ):
            assert client.get(path).status == 200, path  # fmt: skip
        time.sleep(0.1)
        messages = [m for stream in proxy.sent for m in messages_of(bytes(stream))]
    parsed = [body for kind, body in messages if kind == "P"]
    simple = [body for kind, body in messages if kind == "Q"]
    assert len(parsed) > 30
    assert [body for body in parsed if not body.startswith(b"\x00")] == []
    statements = [body[1:].partition(b"\x00")[0] for body in parsed]
    statements += [body.rstrip(b"\x00") for body in simple]
    pinning = re.compile(
        rb"(?i)^\s*(SET|PREPARE|EXECUTE|DEALLOCATE|DISCARD|LISTEN|DECLARE|LOCK|CREATE)\b"
        rb"|nextval|setval|advisory"
    )
    assert [s for s in statements if pinning.search(s)] == []
