"""A server that streams what the request asks of it, and writes down how each stream ended."""

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.web.threaded import Threaded

HOME = Path(os.environ["DAVINCI_HOME"])


async def serve(request: Request) -> Response:
    command: dict[str, Any] = json.loads(await request.body() or b"{}")
    if "exit" in command:
        os._exit(command["exit"])
    pause(command.get("sleep", 0))
    if "parts" in command:
        return StreamingResponse(parts(command), media_type="text/event-stream")
    return JSONResponse(
        {
            "pid": os.getpid(),
            "path": request.url.path,
            "query": request.url.query,
            "headers": dict(request.headers),
            "environment": dict(os.environ),
        },
        headers={"x-own": "1"},
    )


async def parts(command: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield numbered parts; before each but the first something happens if the command says so."""
    n = -1
    try:
        for n in range(command["parts"]):
            if n and command.get("gate"):
                wait_for(HOME / f"gate-{n}")
            if n:
                pause(command.get("part_s", 0))
            if n and command.get("die"):
                os._exit(command["die"])
            yield b"%d." % n + b"x" * command.get("size", 0)
    finally:
        line = {"closed_after": n, "pid": os.getpid(), "at": time.time()}
        with (HOME / "journal.ndjson").open("a") as journal:
            journal.write(json.dumps(line) + "\n")


def pause(seconds: float) -> None:
    time.sleep(seconds)


def wait_for(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.005)


app = Threaded(Starlette(routes=[Route("/v1/stream", serve, methods=["POST"])]), threads=1)
