"""A small stand-in for the whole system: the routes the replay uses, over real HTTP, in memory.

It keeps its state while it is down, refuses what a real system would refuse, and can be told to
answer 503, or to drop a connection before or after it has done the work.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self
from urllib.parse import unquote

from shared.kit.ids import uuid7

PASSWORD = "correct horse"
Json = dict[str, Any]
# Takes the route and how often it was asked before; returns what goes wrong, if anything.
Fault = Callable[[str, int], str | None]


@dataclass
class Reply:
    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


POLICY: Json = {
    "id": "pol_1",
    "name": "default",
    "active_version": 1,
    "is_default": True,
    "document": {
        "levels": {
            level: {"quality_value_usd": value, "latency_cost_usd_per_s": 0.0001}
            for level, value in {"L1": 0.002, "L2": 0.004, "L3": 0.01, "L4": 0.02}.items()
        }
    },
}


def no_fault(_route: str, _asked: int) -> str | None:
    return None


class FakeSystem:
    """Serves on a thread; ``stop`` and ``start`` again are a restart on the same port."""

    def __init__(
        self, *, fault: Fault = no_fault, idempotent: bool = True, delay_s: float = 0.0
    ) -> None:
        self.fault = fault
        self.idempotent = idempotent
        self.delay_s = delay_s
        self.unhealthy_for = 0
        self.pinned_model: str | None = None
        self.policies: list[Json] = [POLICY]
        self.models: dict[str, Json] = {}
        self.keys: set[str] = set()
        self.tokens: set[str] = set()
        self.decisions: dict[str, Json] = {}
        self.feedback: Counter[tuple[str, str]] = Counter()
        self.scores: dict[str, float] = {}
        self.calls: list[Call] = []
        self.asked: Counter[str] = Counter()
        self.port = 0
        self._answered: dict[str, Reply] = {}
        self._rng = Random(3)
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._thread = None

    def paths(self, method: str) -> list[str]:
        return [call.path for call in self.calls if call.method == method]

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        call = Call(method, unquote(path), headers, json.loads(content) if content else {})
        self.calls.append(call)
        route = f"{method} {call.path}"
        fault = self.fault(route, self.asked[route])
        self.asked[route] += 1
        if fault == "drop_before":
            return False
        if fault is not None and fault != "drop_after":
            status, _, wait = fault.partition(" ")
            extra = {"retry-after": wait} if wait else {}
            reply = Reply(int(status), {"title": "not now", "status": int(status)}, extra)
        else:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            reply = self._answer(call)
            if fault == "drop_after":
                return False
        body = json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} x", f"content-length: {len(body)}"]
        lines += ["content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return True

    def _answer(self, call: Call) -> Reply:
        route = f"{call.method} {call.path}"
        if route == "GET /health":
            self.unhealthy_for -= 1
            return Reply(503 if self.unhealthy_for >= 0 else 200, {})
        if route == "POST /api/auth/login":
            return self._log_in(call)
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in self.tokens | self.keys:
            return Reply(401, {"title": "who are you?"})
        if bearer in self.keys:
            return self._with_key(route, call)
        return self._as_admin(route, call)

    def _with_key(self, route: str, call: Call) -> Reply:
        if route == "GET /v1/models":
            return Reply(200, {"object": "list", "data": []})
        if route == "POST /v1/chat/completions":
            return self._chat(call)
        if route == "POST /api/learning/feedback":
            return self._judge(call.body)
        return Reply(403, {"title": "out of scope"})

    def _as_admin(self, route: str, call: Call) -> Reply:
        for start, answer in (
            ("POST /api/keys", self._create_key),
            ("GET /api/policies", self._policies),
            ("POST /api/models", self._register),
            ("GET /api/models/", self._model),
            ("PATCH /api/models/", self._model),
            ("GET /api/neural/decisions/", self._decision),
        ):
            if route.startswith(start):
                return answer(call)
        return Reply(404, {"title": "no such route"})

    def _create_key(self, call: Call) -> Reply:
        secret = f"dv_{len(self.keys)}_{self._rng.random()}"
        self.keys.add(secret)
        return Reply(201, {"id": "key_1", "secret": secret, "scopes": call.body["scopes"]})

    def _policies(self, call: Call) -> Reply:
        if call.path.endswith("?cursor=page 2"):
            return Reply(200, {"items": self.policies, "next_cursor": None})
        return Reply(200, {"items": [], "next_cursor": "page 2"})

    def _log_in(self, call: Call) -> Reply:
        if call.body != {"email": "admin@davinci.local", "password": PASSWORD}:
            return Reply(401, {"title": "wrong password"})
        token = f"token-{self._rng.random()}"
        self.tokens.add(token)
        return Reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": 900})

    def _register(self, call: Call) -> Reply:
        body = call.body
        if body["id"] in self.models:
            return Reply(409, {"title": "exists"})
        self.models[body["id"]] = body | {"version": 1}
        return Reply(201, body)

    def _model(self, call: Call) -> Reply:
        model = self.models.get(call.path.removeprefix("/api/models/"))
        if model is None:
            return Reply(404, {"title": "no such model"})
        etag = f'"{model["version"]}"'
        if call.method == "PATCH":
            if "if-match" not in call.headers:
                return Reply(428, {"title": "If-Match is missing"})
            if call.headers["if-match"] != etag:
                return Reply(412, {"title": "changed meanwhile"})
            model |= call.body
            model["version"] += 1
        return Reply(200, model, {"etag": f'"{model["version"]}"'})

    def _chat(self, call: Call) -> Reply:
        name = call.headers["idempotency-key"]
        if self.idempotent and name in self._answered:
            return self._answered[name]
        model = self.pinned_model or self._rng.choice(sorted(self.models))
        decision_id = f"dec_{uuid7()}"
        self.decisions[decision_id] = {
            "decision_id": decision_id,
            "model": model,
            "prompt": call.body["messages"][-1]["content"],
            "task": call.headers["x-davinci-task"],
            "outcome": {"status": "ok"},
        }
        headers = {
            "x-davinci-decision-id": decision_id,
            "x-davinci-model": model,
            "x-davinci-level": "L3",
            "x-davinci-cost-usd": "0.0000456",
        }
        self._answered[name] = Reply(200, {"object": "chat.completion", "choices": []}, headers)
        return self._answered[name]

    def _judge(self, body: Json) -> Reply:
        decision_id, source = body["decision_id"], body["source"]
        if decision_id not in self.decisions:
            return Reply(404, {"title": "no such decision"})
        if self.feedback[decision_id, source]:
            return Reply(200, {})
        self.feedback[decision_id, source] += 1
        self.scores[decision_id] = body["score"]
        return Reply(201, {})

    def _decision(self, call: Call) -> Reply:
        decision_id = call.path.removeprefix("/api/neural/decisions/")
        decision = self.decisions.get(decision_id)
        if decision is None:
            return Reply(404, {"title": "no such decision"})
        feedback = [
            {"source": source}
            for (judged, source), count in self.feedback.items()
            for _ in range(count)
            if judged == decision_id
        ]
        return Reply(200, decision | {"feedback": feedback})
