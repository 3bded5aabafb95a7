"""Format 2.0 events and responses, where the processes are not needed to see it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.http_events import BadResponseError, build_event, problem, read_response
from infra.local.routes import Match
from infra.local.system import Route

NOW = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
DEFAULT = Match(Route(method="ANY", path="$default", function="F"))


def event(body: bytes = b"", **changes: Any) -> dict[str, Any]:
    scope = {
        "method": "POST", "path": "/a b", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "client": ("10.0.0.1", 1), "server": ("x", 8000),
    }  # fmt: skip
    return build_event(scope | changes, body, DEFAULT, request_id="r-1", now=NOW)


def test_default_route_shows_its_key_and_the_decoded_path() -> None:
    made = event()
    assert (made["routeKey"], made["rawPath"]) == ("$default", "/a b")
    assert made["requestContext"]["time"] == "22/Nov/2026:12:00:00 +0000"
    assert made["requestContext"]["timeEpoch"] == 1795348800250
    assert not {"body", "cookies", "queryStringParameters", "pathParameters"} & set(made)


def test_forwarded_addresses_are_kept_before_the_clients_own() -> None:
    made = event(headers=[(b"x-forwarded-for", b"1.2.3.4"), (b"host", b"d.example:8000")])
    assert made["headers"]["x-forwarded-for"] == "1.2.3.4, 10.0.0.1"
    assert made["requestContext"]["domainName"] == "d.example"
    assert made["requestContext"]["http"]["sourceIp"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("text/csv", True),
        ("application/xml", True),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("image/png", False),
        (None, False),
    ],
)
def test_content_type_decides_between_text_and_base64(
    content_type: str | None, is_text: bool
) -> None:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    made = event(b"{}", headers=headers)
    assert made["isBase64Encoded"] is not is_text
    assert made["body"] == ("{}" if is_text else "e30=")


@given(st.binary())
def test_any_body_can_be_recovered(body: bytes) -> None:
    made = event(body)
    assert base64.b64decode(made.get("body", "")) == body


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.text()))
def test_event_is_json_whatever_the_query(query: dict[str, str]) -> None:
    json.dumps(event(query_string=repr(query).encode()))


@pytest.mark.parametrize(
    ("result", "status", "body", "content_type"),
    [
        ({"statusCode": 204}, 204, b"", b"text/plain;charset=utf-8"),
        ({"statusCode": "201", "body": "ä"}, 201, "ä".encode(), b"text/plain;charset=utf-8"),
        ({"statusCode": 200, "headers": {"Content-Type": "a/b"}}, 200, b"", b"a/b"),
        ({"statusCode": 200, "body": "AAE=", "isBase64Encoded": True}, 200, b"\x00\x01", None),
        ({"statusCode": 200, "body": None, "headers": None, "cookies": None}, 200, b"", None),
        ("text", 200, b"text", b"application/json"),
        (None, 200, b"null", b"application/json"),
        ([1], 200, b"[1]", b"application/json"),
        ({"message": "no status"}, 200, b'{"message": "no status"}', b"application/json"),
    ],
)
def test_result_becomes_a_response(
    result: Any, status: int, body: bytes, content_type: bytes | None
) -> None:
    response = read_response(result)
    assert (response.status, response.body) == (status, body)
    if content_type:
        assert dict(response.headers)[b"content-type"] == content_type


def test_headers_are_text_and_hop_by_hop_ones_are_ours() -> None:
    headers = {"X-Count": 3, "X-Flag": True, "Connection": "close", "Content-Length": "9"}
    response = read_response({"statusCode": 200, "headers": headers, "cookies": ["a=1", "b=2"]})
    assert response.headers[:4] == [
        (b"x-count", b"3"), (b"x-flag", b"true"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": None},
        {"statusCode": 99},
        {"statusCode": 600},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"ä": "b"}},
        {"statusCode": 200, "headers": {"a": "€"}},
        {"statusCode": 200, "cookies": ["a=1\nx: y"]},
        {"statusCode": 200, "body": 5},
        {"statusCode": 200, "body": "a", "isBase64Encoded": True},
    ],
)
def test_malformed_result_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(BadResponseError):
        read_response(result)


def test_problem_takes_the_form_that_the_path_promises() -> None:
    ours, openai = (problem(413, "request-too-large", "Too big.", p) for p in ("/api/a", "/v1/a"))
    assert dict(ours.headers)[b"content-type"] == b"application/problem+json"
    assert json.loads(ours.body)["detail"] == "Too big."
    assert dict(openai.headers)[b"content-type"] == b"application/json"
    assert json.loads(openai.body)["error"]["message"] == "Too big."
