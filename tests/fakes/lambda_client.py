"""Calls the real Lambda handlers with API Gateway v2 events, routed by the template."""

from __future__ import annotations

import base64
import importlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str
    cookies: tuple[str, ...]

    def json(self) -> Any:
        return json.loads(self.body)


class _Context:
    """What Lambda hands to a handler, as far as anything of ours looks."""

    function_name = "test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:local:000000000000:function:test"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


@dataclass(frozen=True)
class LambdaClient:
    """A client of the whole API without a network."""

    template: Path
    token: str | None = None
    source_ip: str = "203.0.113.7"

    def with_token(self, token: str | None) -> LambdaClient:
        return replace(self, token=token)

    def get(self, path: str, query: dict[str, Any] | None = None, **more: Any) -> Answer:
        return self.request("GET", path, query=query, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.request("POST", path, body=body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> Answer:
        return self.request("PATCH", path, body=body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.request("DELETE", path, **more)

    def request(
        self, method: str, path: str, *, body: Any = None, raw: bytes | None = None,
        query: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
        cookies: tuple[str, ...] = (),
    ) -> Answer:  # fmt: skip
        sent = {k.lower(): v for k, v in (headers or {}).items()}
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        content = (
            raw if raw is not None else (json.dumps(body).encode() if body is not None else b"")
        )
        if content:
            sent.setdefault("content-type", "application/json")
            sent["content-length"] = str(len(content))
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": urlencode(query or {}, doseq=True),
            "cookies": list(cookies),
            "headers": sent,
            "requestContext": {
                "http": {
                    "method": method, "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": self.source_ip, "userAgent": "tests",
                },
                "requestId": "test", "stage": "$default",
            },
            "body": base64.b64encode(content).decode() if content else None,
            "isBase64Encoded": bool(content),
        }  # fmt: skip
        handler = _load(_handler_for(self.template, method, path))
        answer = handler(event, _Context())
        text = answer.get("body") or ""
        if answer.get("isBase64Encoded"):
            text = base64.b64decode(text).decode()
        return Answer(
            answer["statusCode"], answer.get("headers", {}), text, tuple(answer.get("cookies", ()))
        )


def invoke_worker(name: str, event: dict[str, Any]) -> Any:
    """Call a worker function's handler, ``functions.<name>.worker``."""
    return importlib.import_module(f"functions.{name}.worker").handler(event, _Context())


def _load(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _handler_for(template: Path, method: str, path: str) -> str:
    parts = path.strip("/").split("/")
    candidates = [
        (route, handler)
        for verb, route, handler in routes_of(template)
        if verb == method and _fits(route.strip("/").split("/"), parts)
    ]
    # A literal beats a parameter, a parameter beats a greedy one, as in API Gateway.
    best = min(candidates, key=lambda c: (c[0].count("+}"), c[0].count("{")), default=None)
    return best[1] if best is not None else "functions.system.handler.handler"


def _fits(route: list[str], parts: list[str]) -> bool:
    if route[-1].endswith("+}"):
        return len(parts) >= len(route) and _fits(
            route[:-1] or [""], parts[: len(route) - 1] or [""]
        )
    return len(route) == len(parts) and all(
        (part and r.startswith("{")) or r == part for r, part in zip(route, parts, strict=True)
    )


@cache
def routes_of(template: Path) -> tuple[tuple[str, str, str], ...]:
    """Return (method, path, handler) of every explicit HTTP route of the template."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, _suffix, node: None)
    document = yaml.load(template.read_text(), Loader)  # noqa: S506  # a SafeLoader, tags ignored
    return tuple(
        (
            event["Properties"]["Method"],
            event["Properties"]["Path"],
            resource["Properties"]["Handler"],
        )
        for resource in document["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
        for event in resource["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi" and "Path" in event["Properties"]
    )
