"""HTTP through the real processes: what a client and a function see of each other."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.local.conftest import Start, eventually

pytestmark = pytest.mark.anyio


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_function_sees_a_version_2_event(start: Start) -> None:
    running = await start()
    answer = await running.http.post(
        "/api/echo/a/b%20c?x=1&x=2&empty=",
        content="text",
        headers=[
            ("content-type", "text/plain"), ("X-Twice", "1"), ("x-twice", "2"),
            ("cookie", "s=1; t=2"), ("connection", "keep-alive"),
        ],
    )  # fmt: skip
    event = answer.json()["event"]
    http = event["requestContext"]["http"]
    assert event["version"] == "2.0"
    assert event["routeKey"] == event["requestContext"]["routeKey"] == "ANY /api/echo/{proxy+}"
    assert event["rawPath"] == http["path"] == "/api/echo/a/b c"
    assert event["rawQueryString"] == "x=1&x=2&empty="
    assert event["queryStringParameters"] == {"x": "1,2", "empty": ""}
    assert event["pathParameters"] == {"proxy": "a/b c"}
    assert event["cookies"] == ["s=1", "t=2"]
    assert event["headers"]["x-twice"] == "1,2"
    assert "cookie" not in event["headers"]
    assert "connection" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ("text", False)
    assert (http["method"], http["sourceIp"]) == ("POST", "127.0.0.1")
    assert event["requestContext"]["stage"] == "$default"
    assert answer.headers["apigw-requestid"] == event["requestContext"]["requestId"]


async def test_function_sees_its_context_and_environment(start: Start, tmp_path: Path) -> None:
    running = await start(environment={"EXTRA": "given"})
    report = (await running.do()).json()
    context, environment = report["context"], report["environment"]
    assert context["function_name"] == "Probe"
    assert context["memory_limit_in_mb"] == "256"
    assert context["invoked_function_arn"].endswith(":function:Probe")
    assert 0 < report["remaining_ms"] <= 2000
    assert environment["STAGE"] == "dev"
    assert environment["GREETING"] == "hello"
    assert environment["BUS_NAME"] == "davinci-dev"
    assert environment["EXTRA"] == "given"
    assert environment["DATABASE_URL"].startswith("postgresql+pg8000://")
    assert environment["DAVINCI_ENVIRONMENT"] == "local"
    assert environment["DAVINCI_HOME"] == str(tmp_path)
    assert environment["DAVINCI_LOCAL_CLOUD_URL"] == running.cloud.internal_url
    assert environment["DAVINCI_SIGNING_KEYS"] == f"file:{tmp_path}/signing-keys.json"


async def test_function_does_not_see_the_shell(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_SOMEBODY", "x")
    monkeypatch.setenv("DAVINCI_SNAPSHOT_TTL_S", "7")
    running = await start()
    environment = (await running.do()).json()["environment"]
    assert "SECRET_OF_SOMEBODY" not in environment
    assert environment["DAVINCI_SNAPSHOT_TTL_S"] == "7"


async def test_response_keeps_every_cookie(start: Start) -> None:
    running = await start()
    answer = await running.do()
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert answer.headers["content-type"] == "application/json"


async def test_prints_go_to_the_log_and_never_into_a_response(start: Start, tmp_path: Path) -> None:
    running = await start()
    assert (await running.do(print="a line of the function")).status_code == 200
    log = (tmp_path / "logs" / "Probe.log").read_text()
    assert "a line of the function" in log
    assert "raw bytes on descriptor one" in log


async def test_binary_bodies_travel_as_base64_both_ways(start: Start) -> None:
    running = await start()
    octets = bytes(range(256))
    kind = {"content-type": "application/octet-stream"}
    answer = await running.http.post("/api/echo/x", content=octets, headers=kind)
    event = answer.json()["event"]
    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == octets
    body = base64.b64encode(octets).decode()
    answer = await running.do(answer={"statusCode": 201, "body": body, "isBase64Encoded": True})
    assert (answer.status_code, answer.content) == (201, octets)


async def test_result_without_status_code_is_the_body_of_a_200(start: Start) -> None:
    running = await start()
    answer = await running.do(answer={"hello": "wörld"})
    assert (answer.status_code, answer.json()) == (200, {"hello": "wörld"})
    assert answer.headers["content-type"] == "application/json"


async def test_head_has_headers_and_no_body(start: Start) -> None:
    running = await start()
    answer = await running.http.head("/api/echo/x")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_root_answers_the_api_only_to_those_who_ask_for_json(
    start: Start, dashboard: Path
) -> None:
    running = await start(static_dir=dashboard)
    machine = await running.http.get("/", headers={"accept": "application/json"})
    browser = await running.http.get("/", headers={"accept": "text/html, application/json"})
    assert machine.json()["event"]["routeKey"] == "GET /"
    assert "<title>sample</title>" in browser.text


async def test_unknown_api_path_is_a_problem_and_never_the_dashboard(
    start: Start, dashboard: Path
) -> None:
    running = await start(static_dir=dashboard)
    answer = await running.http.get("/api/unknown")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() | {"type": "", "errors": []} == {
        "type": "", "title": "Not found", "status": 404, "instance": "/api/unknown", "errors": [],
        "detail": "No route serves this method and path.",
    }  # fmt: skip
    assert (await running.http.get("/api/do")).status_code == 404, "the route is POST"
    assert (await running.http.get("/docs")).headers["content-type"] == "application/problem+json"


async def test_errors_under_v1_have_the_shape_of_openai(start: Start) -> None:
    running = await start()
    answer = await running.http.post("/v1/unknown")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (await running.do("/v1/do", exit=1)).json()["error"]["code"] == "function_error"


@pytest.mark.parametrize(
    "command",
    [
        {"raise": "no"},
        {"exit": 3},
        {"sys_exit": True},
        {"unserializable": True},
        {"big": 6 * 1024 * 1024 + 1},
        {"answer": {"statusCode": "many"}},
        {"answer": {"statusCode": 100}},
        {"answer": {"statusCode": 200, "headers": {"a": "b\r\nc: d"}}},
        {"answer": {"statusCode": 200, "body": {"an": "object"}}},
        {"answer": {"statusCode": 200, "body": "%%%", "isBase64Encoded": True}},
    ],
    ids=lambda command: json.dumps(command)[:40],
)
async def test_failing_function_is_a_502_and_the_next_request_is_served(
    start: Start, command: dict[str, Any]
) -> None:
    running = await start()
    failed = await running.do(**command)
    assert failed.status_code == 502
    assert failed.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in failed.text
    assert (await running.do()).status_code == 200


async def test_response_just_below_the_limit_passes(start: Start) -> None:
    running = await start()
    answer = await running.do(big=6 * 1024 * 1024 - 1024)
    assert (answer.status_code, len(answer.content)) == (200, 6 * 1024 * 1024 - 1024)


async def test_failed_import_is_a_502_with_its_traceback_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    running = await start()
    answers = await asyncio.gather(*(running.http.get("/api/broken") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {502}
    assert "RuntimeError: the settings are missing" in caplog.text
    assert "broken.py" in caplog.text


async def test_timeout_kills_the_environment(start: Start) -> None:
    running = await start()
    pid = (await running.do("/api/single")).json()["pid"]
    answer = await running.do("/api/single", sleep=30)
    assert answer.status_code == 504
    await eventually(lambda: not is_running(pid))
    assert (await running.do("/api/single")).json()["pid"] != pid


async def test_environment_is_reused_and_serves_one_request_at_a_time(start: Start) -> None:
    running = await start(max_environments=3)
    answers = await asyncio.gather(*(running.do(sleep=0.02) for _ in range(40)))
    spans = defaultdict(list)
    for report in (answer.json() for answer in answers):
        spans[report["pid"]].append((report["started_at"], report["ended_at"]))
    assert 1 < len(spans) <= 3
    for one in spans.values():
        one.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(one))


async def test_reserved_concurrency_bounds_the_environments(start: Start) -> None:
    running = await start(max_environments=4)
    answers = await asyncio.gather(*(running.do("/api/single", sleep=0.01) for _ in range(20)))
    assert len({answer.json()["pid"] for answer in answers}) == 1


async def test_no_reserved_concurrency_left_is_throttled(start: Start) -> None:
    running = await start(max_environments=0)
    answer = await running.do()
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "throttled")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_body_over_6_mb_is_refused(start: Start, is_chunked: bool) -> None:
    running = await start()
    megabyte = b" " * 1024 * 1024

    async def chunks() -> Any:
        for _ in range(7):
            yield megabyte

    content: Any = chunks() if is_chunked else megabyte * 7
    answer = await running.http.post("/api/do", content=content)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_event_over_6_mb_is_refused_even_if_the_body_is_smaller(start: Start) -> None:
    running = await start()
    octets = b"\x00" * 5 * 1024 * 1024  # base64 makes 6.7 MB of it
    kind = {"content-type": "application/octet-stream"}
    answer = await running.http.post("/api/echo/x", content=octets, headers=kind)
    assert answer.status_code == 413


@pytest.mark.parametrize(("size", "status"), [(9_000, 200), (10_300, 431)])
async def test_request_line_and_headers_are_bounded(start: Start, size: int, status: int) -> None:
    running = await start()
    answer = await running.http.get("/api/pets/1", headers={"x-long": "x" * size})
    assert answer.status_code == status
    answer = await running.http.get("/api/pets/1?q=" + "x" * size)
    assert answer.status_code == status


async def test_client_that_hangs_up_does_not_stop_the_function(start: Start) -> None:
    running = await start()
    pid = (await running.do("/api/single")).json()["pid"]
    with pytest.raises(httpx.ReadTimeout):
        await running.http.post("/api/single", json={"sleep": 0.5}, timeout=0.1)
    assert (await running.do("/api/single")).json()["pid"] == pid


async def test_cloud_binds_loopback_and_names_a_port_that_is_taken(start: Start) -> None:
    running = await start()
    assert running.cloud.url.startswith("http://127.0.0.1:")
    port = int(running.cloud.url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        await start(public_port=port)


async def test_idle_environments_are_reaped(start: Start) -> None:
    running = await start()
    pid = (await running.do()).json()["pid"]
    await running.cloud.pools["Probe"].reap(idle_s=60)
    assert is_running(pid)
    await running.cloud.pools["Probe"].reap(idle_s=-1)
    assert not is_running(pid)
    assert (await running.do()).status_code == 200


async def test_environment_killed_while_idle_is_replaced(start: Start) -> None:
    running = await start()
    pid = (await running.do()).json()["pid"]
    os.kill(pid, 9)
    await eventually(lambda: not is_running(pid))
    await asyncio.sleep(0.1)  # until the cloud has heard of it; sooner it would be a 502
    assert (await running.do()).status_code == 200


async def test_many_requests_on_raw_connections_are_not_delayed_by_nagle(start: Start) -> None:
    running = await start(max_environments=1)
    await running.do()
    host, _, port = running.cloud.url.removeprefix("http://").partition(":")
    started = asyncio.get_running_loop().time()
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(50):
            connection.sendall(b"GET /api/unknown HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.to_thread(connection.recv, 65536)
    # A delayed acknowledgement would add 40 ms to each.
    assert asyncio.get_running_loop().time() - started < 1.5
