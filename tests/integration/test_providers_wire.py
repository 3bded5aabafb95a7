"""Whole answers from providers that do what they like with the wire."""

from __future__ import annotations

import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from shared.config import Settings
from shared.kit.clock import utc_now
from shared.providers.chat import complete_chat
from shared.providers.client import UpstreamClient
from shared.providers.deadline import Deadline
from shared.providers.embeddings import create_embeddings
from shared.providers.failures import UpstreamCallError
from shared.providers.upstream import Upstream
from tests.fakes.scripted import Script, ScriptedServer, document, head

CHOICES = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
BODY = {"id": "c1", "model": "m-2026", "choices": CHOICES, "usage": USAGE}
PAYLOAD = {"model": "auto", "messages": [{"role": "user", "content": "2 + 2?"}]}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    with server.running():
        yield server


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[UpstreamClient]:
    client = UpstreamClient(
        Settings(
            database_url=SecretStr("postgresql+pg8000://nowhere"),
            upstream_connect_timeout_s=0.3,
            upstream_first_byte_timeout_s=0.3,
        )
    )
    yield client
    client.close()


def upstream(url: str, provider: str = "vllm", secret_ref: str | None = None) -> Upstream:
    return Upstream("test/model", provider, url, "real-name", secret_ref, "measured")


def failure_of(
    client: UpstreamClient, server: ScriptedServer, *scripts: Script, deadline_s: float = 5.0
) -> UpstreamCallError:
    server.reset(*scripts)
    with pytest.raises(UpstreamCallError) as caught:
        complete_chat(client, upstream(server.url), PAYLOAD, Deadline.after(deadline_s))
    return caught.value


def test_an_answer_is_passed_on_as_it_came(client: UpstreamClient, server: ScriptedServer) -> None:
    server.reset(document(BODY))
    answer = complete_chat(client, upstream(server.url), PAYLOAD, Deadline.after(5))
    assert answer.body == BODY and answer.usage_source == "provider"
    assert (answer.tokens_in, answer.tokens_out, answer.filtered) == (3, 4, False)
    assert server.requests == [{**PAYLOAD, "model": "real-name"}]
    assert 0 < answer.measured_ms == answer.latency_ms


def test_connections_are_used_again(client: UpstreamClient, server: ScriptedServer) -> None:
    server.reset(document({"error": "x"}, 500), document(BODY))
    for _ in range(4):
        with suppress(UpstreamCallError):
            complete_chat(client, upstream(server.url), PAYLOAD, Deadline.after(5))
    assert len(server.requests) == 4 and server.connections == 1


@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [
        ("openai", "authorization", "bearer sk-1"),
        ("anthropic", "authorization", "bearer sk-1"),
        ("azure", "api-key", "sk-1"),
        ("ollama", "authorization", None),
    ],
)
def test_the_key_travels_as_the_provider_wants_it(
    client: UpstreamClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch,
    provider: str, header: str, value: str | None,
) -> None:  # fmt: skip
    monkeypatch.setenv("WIRE_TEST_API_KEY", "sk-1")
    server.reset(document(BODY))
    target = upstream(server.url, provider, "env:WIRE_TEST_API_KEY")
    complete_chat(client, target, PAYLOAD, Deadline.after(5))
    assert server.headers[0].get(header) == value
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_key_with_a_line_feed_inside_is_not_sent(
    client: UpstreamClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLIT_TEST_API_KEY", "sk\r\nx-evil: 1")
    server.reset(document(BODY))
    target = upstream(server.url, secret_ref="env:SPLIT_TEST_API_KEY")
    with pytest.raises(UpstreamCallError) as caught:
        complete_chat(client, target, PAYLOAD, Deadline.after(5))
    assert caught.value.error_class == "secret" and server.requests == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (document(b""), "empty"),
        (document(b" \r\n"), "empty"),
        (document(b"<html>", content_type="text/html"), "content-type"),
        (document(b"{"), "malformed"),
        (document(b"[1]"), "malformed"),
        (document(b"null"), "malformed"),
        (document(b'{"choices": [NaN]}'), "malformed"),
        (document(b"[" * 100_000), "malformed"),
        (document({}), "malformed"),
        (document({"choices": []}), "malformed"),
        (document({"choices": [1]}), "malformed"),
        (document({"choices": [{"message": None}]}), "malformed"),
        (document({"choices": [*CHOICES, {}]}), "malformed"),
        (document(b'{"a":"' + b"x" * 5_000_000 + b'"}'), "too-large"),
        (document({"error": {"code": 429}}), "rate-limited"),
        (document({"error": {"message": "?"}}, 500), "upstream-5xx"),
        (document(b"", 302, location="http://127.0.0.1:9/"), "upstream-5xx"),
        (document(b"", 401), "auth"),
        (document({"error": {"code": "content_filter"}}, 400), "content-filter"),
        (document({"error": {"message": "bad"}}, 422), "rejected"),
        (document(BODY, content_encoding="br"), "content-type"),
        (document(b"no gzip", content_encoding="gzip"), "malformed"),
        (lambda c: c.sendall(b"nonsense\r\n\r\n"), "malformed"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000 + b"\r\n"), "malformed"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), "malformed"),
    ],
)
def test_an_answer_that_is_none_has_a_class(
    client: UpstreamClient, server: ScriptedServer, script: Script, expected: str
) -> None:
    failure = failure_of(client, server, script)
    assert failure.error_class == expected
    assert 0 < failure.latency_ms < 5_000
    assert len(server.requests) == 1


def test_an_answer_that_breaks_off_was_answered_and_one_that_never_came_was_not(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    def breaks(connection: socket.socket) -> None:
        connection.sendall(head(content_length=1_000) + b"{")
        raise ConnectionAbortedError

    def never(_connection: socket.socket) -> None:
        raise ConnectionAbortedError

    begun, none = failure_of(client, server, breaks), failure_of(client, server, never)
    assert (begun.error_class, begun.unanswered) == ("cut", False)
    assert (none.error_class, none.unanswered) == ("cut", True)


@pytest.mark.parametrize(
    ("compress", "encoding"),
    [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (gzip.compress, "GZIP")],
)
def test_compression_that_nobody_asked_for_is_undone(
    client: UpstreamClient,
    server: ScriptedServer,
    compress: Callable[[bytes], bytes],
    encoding: str,
) -> None:
    packed = compress(json.dumps(BODY).encode())
    server.reset(document(packed, content_encoding=encoding))
    answer = complete_chat(client, upstream(server.url), PAYLOAD, Deadline.after(5))
    assert answer.body == BODY


def test_a_bomb_stays_folded(client: UpstreamClient, server: ScriptedServer) -> None:
    bomb = gzip.compress(b"0" * 100_000_000, compresslevel=1)
    tracemalloc.start()
    failure = failure_of(client, server, document(bomb, content_encoding="gzip"))
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert failure.error_class == "too-large"
    assert most < 30_000_000


def test_errors_are_passed_on_with_the_providers_advice(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    said = {"error": {"message": "slow down", "type": "tokens"}}
    failure = failure_of(
        client, server, document(said, 429, retry_after="7", x_should_retry="false")
    )
    assert failure.body == said and failure.status == 429
    assert failure.retry_after_s == 7.0 and failure.should_retry is False


def drips(interval_s: float, answer: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        for byte in answer:
            connection.sendall(bytes([byte]))
            time.sleep(interval_s)

    return script


def silent(_connection: socket.socket) -> None:
    time.sleep(3)


@pytest.mark.parametrize(
    ("script", "deadline_s", "expected"),
    [
        (silent, 5.0, "first-byte-timeout"),
        (silent, 0.2, "timeout"),
        # Byte after byte of the head, or of the body: every wait is short, their sum is not.
        (drips(0.02, head(x=1, y="y" * 500)), 5.0, "first-byte-timeout"),
        (drips(0.02, head(x=1, y="y" * 500)), 0.2, "timeout"),
        (drips(0.02, head(content_length=1_000) + b" " * 1_000), 0.25, "timeout"),
    ],
)
def test_no_provider_outlasts_its_caller(
    client: UpstreamClient, server: ScriptedServer, script: Script, deadline_s: float, expected: str
) -> None:
    started_at = time.monotonic()
    failure = failure_of(client, server, script, deadline_s=deadline_s)
    assert failure.error_class == expected
    assert time.monotonic() - started_at < 1.5


def test_a_server_that_does_not_read_is_left_in_time(client: UpstreamClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        payload = {**PAYLOAD, "messages": [{"role": "user", "content": "x" * 8_000_000}]}
        with pytest.raises(UpstreamCallError) as caught:
            complete_chat(client, upstream(url), payload, Deadline.after(0.3))
        assert caught.value.error_class == "timeout"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "http://no.invalid/v1", "ftp://127.0.0.1/v1", "http:///v1"]
)
def test_a_provider_that_is_not_there_cannot_be_connected_to(
    client: UpstreamClient, url: str
) -> None:
    with pytest.raises(UpstreamCallError) as caught:
        complete_chat(client, upstream(url), PAYLOAD, Deadline.after(5))
    assert caught.value.error_class == "connect" and caught.value.unanswered


def test_a_server_that_does_not_speak_tls_cannot_be_connected_to(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    url = server.url.replace("http://", "https://")
    with pytest.raises(UpstreamCallError) as caught:
        complete_chat(client, upstream(url), PAYLOAD, Deadline.after(5))
    assert caught.value.error_class == "connect"


def test_a_tls_handshake_that_hangs_is_left_in_time(client: UpstreamClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        with pytest.raises(UpstreamCallError) as caught:
            complete_chat(client, upstream(url), PAYLOAD, Deadline.after(5))
        assert caught.value.error_class == "connect"


def test_a_name_that_is_not_resolved_in_time_holds_nobody(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, released = socket.getaddrinfo, threading.Event()

    def hangs(*asked: Any, **more: Any) -> Any:
        if "flags" not in more:
            released.wait(5)
        return resolve(*asked, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    started_at = time.monotonic()
    with pytest.raises(UpstreamCallError) as caught:
        complete_chat(client, upstream("http://slow.invalid/v1"), PAYLOAD, Deadline.after(5))
    assert caught.value.error_class == "connect"
    assert time.monotonic() - started_at < 2.0
    released.set()


def test_an_answer_that_the_filter_ended_says_so(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    filtered = {"choices": [{**CHOICES[0], "finish_reason": "content_filter"}]}
    server.reset(document(filtered))
    answer = complete_chat(client, upstream(server.url), PAYLOAD, Deadline.after(5))
    assert answer.filtered and answer.body == filtered and answer.usage_source == "missing"


def test_embeddings_are_passed_on_and_checked(
    client: UpstreamClient, server: ScriptedServer
) -> None:
    body = {"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}}
    server.reset(document(body), document({"data": [{"embedding": None}]}))
    asked = {"model": "x", "input": "hello"}
    answer = create_embeddings(client, upstream(server.url), asked, Deadline.after(5))
    assert answer.body == body and answer.tokens_in == 3 and answer.usage_source == "provider"
    assert server.requests == [{**asked, "model": "real-name"}]
    with pytest.raises(UpstreamCallError) as caught:
        create_embeddings(client, upstream(server.url), asked, Deadline.after(5))
    assert caught.value.error_class == "malformed"
    with pytest.raises(UpstreamCallError) as caught:
        create_embeddings(client, upstream(server.url, "anthropic"), asked, Deadline.after(5))
    assert caught.value.error_class == "rejected" and len(server.requests) == 2


def _certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Return the file of a certificate for 127.0.0.1 that signs itself, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = utc_now()
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "own.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return str(file), context


def test_a_model_of_ones_own_is_reached_through_its_own_authority(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ca_file, context = _certificate(tmp_path)
    server = ScriptedServer(context)
    server.reset(document(BODY))
    target = upstream(server.url.replace("http://", "https://"))
    nowhere = SecretStr("postgresql+pg8000://nowhere")
    trusting = UpstreamClient(Settings(database_url=nowhere, upstream_ca_file=ca_file))
    stranger = UpstreamClient(Settings(database_url=nowhere))
    with server.running():
        for _ in range(3):
            assert complete_chat(trusting, target, PAYLOAD, Deadline.after(5)).body == BODY
        assert server.connections == 1
        with pytest.raises(UpstreamCallError) as caught:
            complete_chat(stranger, target, PAYLOAD, Deadline.after(5))
        assert caught.value.error_class == "connect"
        trusting.close()
