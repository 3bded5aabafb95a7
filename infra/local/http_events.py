"""HTTP to Lambda and back: API Gateway's payload format 2.0."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from infra.local.intrinsics import ACCOUNT_ID
from infra.local.routes import Match
from shared.web import problems

API_ID = "local"
# Measured on AWS: everything else, a form or a missing content type too, arrives as base64.
_TEXT_TYPES = {"application/json", "application/xml", "application/javascript"}
# These belong to a connection, not to a request or response.
_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


class BadResponseError(ValueError):
    """The function's answer is not a response of format 2.0."""


@dataclass(frozen=True)
class HttpResponse:
    status: int
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def problem(status: int, code: str, detail: str, path: str) -> HttpResponse:
    """Return an error that the cloud answers itself, in the form that callers of ``path`` expect.

    AWS sends ``{"message": "Not Found"}`` from its gateways. Da Vinci promises RFC 9457 problems,
    and OpenAI's error object under ``/v1``, also when no function ran.
    """
    title = code.replace("-", " ").capitalize()
    answer = problems.problem(path, status, code, title, detail)
    headers = [(b"content-type", answer.headers["content-type"].encode())]
    return HttpResponse(status, bytes(answer.body), [*headers, (b"cache-control", b"no-store")])


def build_event(
    scope: dict[str, Any], body: bytes, match: Match, *, request_id: str, now: datetime
) -> dict[str, Any]:
    """Return the event of one request, from its ASGI ``scope`` (names already lower case)."""
    headers, cookies = _headers(scope["headers"])
    source_ip = scope["client"][0] if scope.get("client") else "127.0.0.1"
    forwarded = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{forwarded}, {source_ip}" if forwarded else source_ip
    headers["x-forwarded-proto"] = scope["scheme"]
    headers["x-forwarded-port"] = str(scope["server"][1]) if scope.get("server") else "80"
    host = headers.get("host", "127.0.0.1")
    query = scope["query_string"].decode("latin-1")
    is_text = not body or _is_text(headers.get("content-type", ""))
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": match.route.key,
        "rawPath": scope["path"],
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT_ID,
            "apiId": API_ID,
            "domainName": host.rpartition(":")[0] or host,
            "domainPrefix": API_ID,
            "http": {
                "method": scope["method"],
                "path": scope["path"],
                "protocol": f"HTTP/{scope['http_version']}",
                "sourceIp": source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": match.route.key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": not is_text,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _joined(parse_qsl(query, keep_blank_values=True))
    if match.parameters:
        event["pathParameters"] = dict(match.parameters)
    if body:
        text = body.decode("utf-8", "replace") if is_text else base64.b64encode(body).decode()
        event["body"] = text
    return event


def read_response(result: Any) -> HttpResponse:
    """Return the HTTP response that a function's ``result`` stands for.

    A result without ``statusCode`` is the body of a 200, as on AWS.

    Raises
    ------
    BadResponseError
        If a part has the wrong type; API Gateway answers 500 then, we answer 502.
    """
    if not isinstance(result, dict) or "statusCode" not in result:
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return HttpResponse(200, text.encode(), [(b"content-type", b"application/json")])
    try:
        status = int(result["statusCode"])
        given = {str(name).lower(): value for name, value in (result.get("headers") or {}).items()}
        pairs = [
            (name, v) for name, v in given.items() if name not in _HOP_BY_HOP | {"content-length"}
        ]
        pairs += [("set-cookie", cookie) for cookie in result.get("cookies") or []]
        headers = [(name.encode("ascii"), _header_value(value)) for name, value in pairs]
        body = result.get("body") or ""
        content = base64.b64decode(body, validate=True) if result.get("isBase64Encoded") else body
        content = content if isinstance(content, bytes) else content.encode()
    except (AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise BadResponseError(f"not a response of payload format 2.0: {error}") from error
    if not 200 <= status <= 599:
        raise BadResponseError(f"statusCode {status} is no final HTTP status")
    if "content-type" not in given:
        headers.append((b"content-type", b"text/plain;charset=utf-8"))
    return HttpResponse(status, content, headers)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        elif name not in _HOP_BY_HOP:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers, cookies


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT_TYPES


def _header_value(value: Any) -> bytes:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\r" in text or "\n" in text:
        raise ValueError("a header holds a line break")
    return text.encode("latin-1")
