"""Streams that break off at random places: does our spend equal the model's bill, exactly?

The model counts by its own rule, four characters a token, which for ASCII is also the gateway's
estimate. It bills a stream once it has sent something of the answer: what it reported as usage if
it got so far, else what it had sent. That is exact only if nothing is on the way when a stream is
cut, so model and client move in step: the model says its next piece when the client has read the
last one. When the client has left, the model goes on slowly, for gateways that notice only at the
next piece. ("racing" streams are not in step; only bounds hold for them, they are counted apart.)
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from infra.bench.gateway_host import Host, container_host
from infra.bench.progress import say
from infra.local.replay.traffic import load_traffic
from shared.db.tables import decisions, in_flight, outcomes, reservations, spend

ENDINGS = (
    "whole",  # usage reported, [DONE]
    "whole, no usage",  # counted
    "whole, no [DONE]",  # usage reported, then the end
    "dies before usage",  # all said and finished, but cut before the usage chunk
    "model closes", "model resets", "model errs",  # in the middle
    "client closes", "client resets",  # in the middle
    "client leaves early",  # before the model says anything
    "client closes, usage in every chunk",
    "racing",
)  # fmt: skip
_CLIENT_LEAVES = {name for name in ENDINGS if name.startswith("client")} | {"racing"}
_NANO_PER_TOKEN_IN, _NANO_PER_TOKEN_OUT = 250, 1_250
_MODEL = {
    "provider": "bench", "upstream_name": "metered",
    "input_usd_per_mtok": _NANO_PER_TOKEN_IN / 1000,
    "output_usd_per_mtok": _NANO_PER_TOKEN_OUT / 1000,
    "context_tokens": 100_000,
}  # fmt: skip
# Each connection asks a model of its own, so a breaker sees failures in the planned order: many
# are meant, but never many in a row. Coprime to the number of endings: each meets all of them.
_CONNECTIONS = 31
_PATIENCE_S = 30.0
_PACE_FOR_NOBODY_S = 0.5
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Stream:
    """One planned stream and what the model would bill for it."""

    name: str
    ending: str
    tokens_in: int
    pieces: tuple[int, ...]
    """Tokens of each piece of the answer."""
    cut_after: int
    """Pieces after which it breaks off; at least one was said then."""
    read: int = 0
    has_left: bool = False
    billed: tuple[int, int] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def bill_nano(self) -> int:
        return cost_nano(*self.billed) if self.billed is not None else 0

    def move(self, *, read: int = 0, has_left: bool = False) -> None:
        self.read += read
        self.has_left = self.has_left or has_left
        self.moved.set()

    async def in_step(self, said: int) -> None:
        """Wait until the client has read ``said`` pieces; once it has left, for a while."""
        if self.ending == "client leaves early" and said == 0:
            while not self.has_left:
                await self._next_move()
            return
        while self.read < said and not self.has_left:
            await self._next_move()
        if self.has_left:
            await asyncio.sleep(_PACE_FOR_NOBODY_S)

    async def _next_move(self) -> None:
        self.moved.clear()
        await self.moved.wait()


def cost_nano(tokens_in: int, tokens_out: int) -> int:
    """Return the price of a call in nano-dollars."""
    return tokens_in * _NANO_PER_TOKEN_IN + tokens_out * _NANO_PER_TOKEN_OUT


def measure_cuts(n_streams: int, seed: int, *, durable: bool = True) -> dict[str, Any]:
    """Send ``n_streams`` planned streams through one worker; compare its accounts with the bill."""
    streams = plan(n_streams, seed)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        settings = {"DAVINCI_STORE_TEXT": "1"}  # the prompt names the stream
        budget = {"budget": {"usd": 1_000_000.0, "window": "month"}}
        models = [{**_MODEL, "id": _model_id(place)} for place in range(_CONNECTIONS)]
        with container_host(
            load_traffic(), url, settings, durable=durable, key=budget, models=models
        ) as host:
            asyncio.run(_drive(listener, host, streams))
            return compare(host.database_url, streams)


def plan(n_streams: int, seed: int) -> list[Stream]:
    """Return streams of random length that end in every way in turn, at random places."""
    rng = random.Random(seed)
    found = []
    for number in range(n_streams):
        pieces = tuple(rng.randint(1, 12) for _ in range(rng.randint(1, 10)))
        ending = ENDINGS[number % len(ENDINGS)]
        cut_after = 1 if ending == "client leaves early" else rng.randint(1, len(pieces))
        found.append(
            Stream(f"s{number:07d}", ending, rng.randint(4, 60), pieces, cut_after)
        )  # fmt: skip
    return found


async def _drive(listener: socket.socket, host: Host, streams: Sequence[Stream]) -> None:
    by_name = {stream.name: stream for stream in streams}
    server = await asyncio.start_server(_Model(by_name).answer, sock=listener)
    done = 0

    async def work(place: int) -> None:
        nonlocal done
        for stream in streams[place::_CONNECTIONS]:
            try:
                await asyncio.wait_for(_request(host, stream, place), _PATIENCE_S)
            except TimeoutError as error:
                raise RuntimeError(f"{stream.name} ({stream.ending}) hangs") from error
            done += 1
            if done % 1000 == 0:
                say(f"{done:,} streams of {len(streams):,}")

    await asyncio.gather(*(work(place) for place in range(_CONNECTIONS)))
    await _all_settled(host.database_url)
    server.close()


async def _all_settled(database_url: str) -> None:
    """Wait until nothing is in work: what a client left is settled just after it left."""
    engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
    query = sa.select(sa.func.count()).select_from(in_flight)
    with engine.connect() as connection:
        for _ in range(int(_PATIENCE_S * 10)):
            if not connection.scalar(query):
                break
            await asyncio.sleep(0.1)
    engine.dispose()


class _Model:
    """The model's side: every connection answers requests as planned, until one is cut."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                stream = self._streams[(await _read_request(reader))["user"]]
                stream.arrived.set()
                serving = asyncio.ensure_future(self._serve(stream, writer))
                leaving = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():  # the gateway closed the connection
                    serving.cancel()
                    break
                leaving.cancel()
                with suppress(asyncio.CancelledError):
                    await leaving
                if not serving.result():
                    break
        writer.close()

    async def _serve(self, stream: Stream, writer: asyncio.StreamWriter) -> bool:
        """Answer; return whether the connection can be used again."""
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        said = 0
        is_cut_here = stream.ending.startswith("model")
        for place, tokens in enumerate(stream.pieces):
            if is_cut_here and place == stream.cut_after:
                break
            if stream.ending != "racing":
                await stream.in_step(place)
            said += tokens
            counted = _usage(stream.tokens_in, said) if "every chunk" in stream.ending else {}
            stream.billed = stream.tokens_in, said
            _say(writer, _chunk("abcd" * tokens, **counted))
            await writer.drain()
        if is_cut_here:
            await stream.in_step(stream.cut_after)
            return _break_off(stream.ending, writer)
        await self._pause_if_left(stream)
        _say(writer, _chunk("", finish="stop"))
        await self._pause_if_left(stream)
        if stream.ending == "dies before usage":
            await stream.in_step(len(stream.pieces))
            return _break_off("model closes", writer)
        if stream.ending != "whole, no usage":
            # What a provider reports includes what nobody can count, such as reasoning.
            stream.billed = stream.tokens_in + 7, said + 3
            _say(writer, _event({"choices": [], **_usage(*stream.billed)}))
        if stream.ending != "whole, no [DONE]":
            _say(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _pause_if_left(self, stream: Stream) -> None:
        if stream.ending in _CLIENT_LEAVES and stream.ending != "racing":
            await stream.in_step(len(stream.pieces))


def _break_off(how: str, writer: asyncio.StreamWriter) -> bool:
    if how == "model errs":
        error = {"message": "overloaded", "type": "server_error", "code": 503}
        _say(writer, b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
        writer.write(b"0\r\n\r\n")
    elif how == "model resets":
        _reset(writer)
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the coming close be a RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def _say(writer: asyncio.StreamWriter, event: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(event), event))


def _chunk(text: str, finish: str | None = None, **more: Any) -> bytes:
    delta = {"content": text} if text else {}
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def _event(members: Mapping[str, Any]) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **members}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    return {"usage": {**counts, "total_tokens": tokens_in + tokens_out}}


async def _read_request(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    body: dict[str, Any] = json.loads(await reader.readexactly(length))
    return body


def _model_id(place: int) -> str:
    return f"bench/metered-{place}"


async def _request(host: Host, stream: Stream, place: int) -> None:
    """The client's side: read the stream in step, and leave where the plan says so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    body = json.dumps(
        {
            "model": _model_id(place), "stream": True, "user": stream.name,
            "messages": [{"role": "user", "content": stream.name.ljust(stream.tokens_in * 4, ".")}],
        }
    ).encode()  # fmt: skip
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {host.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    try:
        if stream.ending == "client leaves early":
            await stream.arrived.wait()
            return
        async for line in reader:
            if b'"content"' in line:
                stream.move(read=1)
                if stream.ending in _CLIENT_LEAVES and stream.read == stream.cut_after:
                    return
            elif line.startswith(b"0\r\n"):
                return
            elif line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                raise RuntimeError(f"{stream.name}: {line!r} {await reader.read(2000)!r}")
    except OSError:
        return
    finally:
        if stream.ending == "client resets":
            _reset(writer)
        writer.close()
        stream.move(has_left=True)


def compare(database_url: str, streams: Sequence[Stream]) -> dict[str, Any]:
    """Compare the stored outcomes and the key's spend with the model's bill, stream by stream."""
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        prompt = decisions.c.text["messages"][0]["content"].astext
        rows = connection.execute(
            sa.select(
                sa.func.left(prompt, 8).label("name"), outcomes.c.tokens_in, outcomes.c.tokens_out,
                outcomes.c.cost_usd, outcomes.c.error_class,
            ).outerjoin_from(decisions, outcomes, decisions.c.id == outcomes.c.decision_id)
        ).all()  # fmt: skip
        spent = connection.execute(
            sa.select(sa.func.sum(spend.c.settled_nusd), sa.func.sum(spend.c.reserved_nusd))
        ).one()
        left_over = {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (reservations, in_flight)
        }
    engine.dispose()
    ours = {row.name: row for row in rows}
    unlike = [stream for stream in streams if not _is_alike(stream, ours.get(stream.name))]
    exact = [stream for stream in streams if stream.ending != "racing"]
    recorded_nano = {name: round((row.cost_usd or 0) * 1e9) for name, row in ours.items()}
    return {
        "streams": len(streams),
        "endings": dict(Counter(stream.ending for stream in streams)),
        "decisions": len(rows),
        "outcomes": sum(row.tokens_in is not None for row in rows),
        "model_bill_nano_usd": sum(stream.bill_nano for stream in exact),
        "difference_nano_usd": sum(
            recorded_nano.get(stream.name, 0) - stream.bill_nano for stream in exact
        ),
        "recorded_nano_usd": sum(recorded_nano.values()),
        "spend_nano_usd": int(spent[0] or 0),
        "reserved_nano_usd": int(spent[1] or 0),
        "left_over": left_over,
        "unlike": len(unlike),
        "examples": [_in_words(stream, ours.get(stream.name)) for stream in unlike[:20]],
    }


def _is_alike(stream: Stream, row: Any) -> bool:
    if row is None or row.tokens_in is None:
        return False
    is_billed = (row.tokens_in, row.tokens_out) == (stream.billed or (0, 0))
    if is_billed or stream.ending != "racing":
        return bool(is_billed)
    least, most = sum(stream.pieces[: stream.cut_after]), sum(stream.pieces)
    return bool(row.tokens_in == stream.tokens_in and least <= row.tokens_out <= most)


def _in_words(stream: Stream, row: Any) -> str:
    stored = None if row is None else (row.tokens_in, row.tokens_out, row.cost_usd, row.error_class)
    return (
        f"{stream.name} {stream.ending}: {len(stream.pieces)} pieces, cut after "
        f"{stream.cut_after}: billed {stream.billed}, stored {stored}"
    )
