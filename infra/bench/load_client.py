"""A lean HTTP client in a process of its own, so that it measures the server and not itself.

``python -m infra.bench.load_client`` reads one JSON order on standard input::

    {"port", "path", "headers", "bodies", "connections", "seconds", "rate", "warmup_s"}

and writes what it saw on standard output. ``rate`` null is closed-loop: every connection sends its
next request when the answer to the last is in. A number is open-loop: requests come at random
(Poisson) at that rate whatever the server does, and a latency counts from the instant at which the
request was due, so a server that stalls pays for everybody who would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, cast

from infra.bench.stats import percentile

LOST = 0  # the status of a connection that broke
_END_OF_HEAD = b"\r\n\r\n"
_DRAIN_S = 10.0


@dataclass
class Tally:
    """What was seen inside the measured window."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: int = 0
    """Answers of 200 to anything sent, the warm-up included."""


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request on its way."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        status = take_answer(self._buffer)
        if status is not None and self._waiting is not None:
            self._buffer = b""
            self._answer(status)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._answer(LOST)

    async def send(self, request: bytes) -> int:
        """Return the status of the answer."""
        if self._transport is None:
            return LOST
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _answer(self, status: int) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(status)


def take_answer(buffer: bytes) -> int | None:
    """Return the status if ``buffer`` holds a whole answer (with a content-length), else None."""
    head, end, body = buffer.partition(_END_OF_HEAD)
    if not end:
        return None
    start = head.lower().find(b"\r\ncontent-length:")
    if start < 0:
        raise ValueError("an answer without content-length")
    length = int(head[start + 17 :].split(b"\r\n", 1)[0])
    return int(head[9:12]) if len(body) >= length else None


def build_request(port: int, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return the bytes of one POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


async def run(order: dict[str, Any]) -> dict[str, Any]:
    """Send as ordered; return counts, and latencies in milliseconds."""
    requests = [
        build_request(order["port"], order["path"], order["headers"], body.encode())
        for body in order["bodies"]
    ]
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(order["connections"]):
        _, connection = await loop.create_connection(Connection, "127.0.0.1", order["port"])
        connections.append(connection)
    starts_at = time.perf_counter() + order["warmup_s"]
    window = starts_at, starts_at + order["seconds"]
    tally = Tally()
    if order["rate"] is None:
        await _closed_loop(connections, requests, window, tally)
    else:
        await _open_loop(connections, requests, window, tally, order["rate"])
    for connection in connections:
        connection.close()
    return _report(tally, order["seconds"])


async def _closed_loop(
    connections: list[Connection],
    requests: list[bytes],
    window: tuple[float, float],
    tally: Tally,
) -> None:
    async def keep_busy(connection: Connection, place: int) -> None:
        while (sent_at := time.perf_counter()) < window[1]:
            status = await connection.send(requests[place % len(requests)])
            _count(tally, status, sent_at, window)
            place += len(connections)
            if status == LOST:
                return

    await asyncio.gather(*(keep_busy(c, place) for place, c in enumerate(connections)))


async def _open_loop(
    connections: list[Connection],
    requests: list[bytes],
    window: tuple[float, float],
    tally: Tally,
    rate: float,
) -> None:
    free = deque(connections)
    waiting: deque[asyncio.Future[Connection]] = deque()
    rng = random.Random(7)
    running: set[asyncio.Task[None]] = set()

    async def one(request: bytes, due_at: float) -> None:
        if free:
            connection = free.popleft()
        else:
            turn: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            connection = await turn
        status = await connection.send(request)
        _count(tally, status, due_at, window)
        if waiting:
            waiting.popleft().set_result(connection)
        else:
            free.append(connection)

    due_at, place = time.perf_counter(), 0
    while due_at < window[1]:
        pause = due_at - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(requests[place % len(requests)], due_at))
        running.add(task)
        task.add_done_callback(running.discard)
        due_at += rng.expovariate(rate)
        place += 1
    late = running.copy()
    if late:
        _, unanswered = await asyncio.wait(late, timeout=_DRAIN_S)
        for task in unanswered:  # nobody waits longer than this: an error
            task.cancel()
            tally.statuses[LOST] += 1


def _count(tally: Tally, status: int, since: float, window: tuple[float, float]) -> None:
    tally.acknowledged += status == 200
    if window[0] <= since < window[1]:
        tally.latencies_s.append(time.perf_counter() - since)
        tally.statuses[status] += 1


def _report(tally: Tally, seconds: float) -> dict[str, Any]:
    total = sum(tally.statuses.values())
    good = tally.statuses[200]
    latencies = tally.latencies_s or [0.0]
    return {
        "requests_per_minute": round(good / seconds * 60),
        "error_rate": round((total - good) / total, 6) if total else 1.0,
        "p50_ms": round(percentile(latencies, 50) * 1000, 2),
        "p99_ms": round(percentile(latencies, 99) * 1000, 2),
        "max_ms": round(max(latencies) * 1000, 2),
        "statuses": {str(status): n for status, n in sorted(tally.statuses.items())},
        "acknowledged": tally.acknowledged,
        "client_cpu_s": round(time.process_time(), 2),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)
