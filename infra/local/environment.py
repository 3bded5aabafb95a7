"""The inside of one execution environment: imports a handler, then runs one event at a time.

Started by ``environments.Environment`` as ``python -m infra.local.environment <handler>``. Frames
(four bytes of length, then JSON) come in on standard input and leave on standard output; both are
taken away before the handler is imported, so whatever the function prints goes to its log.
When standard input ends, the cloud is gone, however it died, and so is the environment.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

MAX_RESPONSE_BYTES = 6 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_SECONDS_TO_FINISH = 1.0


class LambdaContext:
    """The second argument of a handler."""

    function_version = "$LATEST"
    client_context = None
    identity = None

    def __init__(self, request_id: str, arn: str, deadline_ms: int) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]  # text on AWS too
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = str(os.getpid())
        self._deadline_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._deadline_ms - int(time.time() * 1000))


def main(handler_name: str) -> int:
    """Serve until standard input ends."""
    requests, replies = _take_channel()
    # Ctrl-C in the terminal reaches us too, but the cloud decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read_frames, args=(requests, frames), daemon=True).start()
    try:
        module, _, name = handler_name.rpartition(".")
        handler = getattr(importlib.import_module(module), name)
    except Exception as error:
        _send(replies, {"error": _described(error)})
        return 1
    _send(replies, {"ready": True})
    while (frame := frames.get()) is not None:
        _send(replies, _run(handler, json.loads(frame)))
    return 0


def _run(handler: Callable[[Any, Any], Any], request: dict[str, Any]) -> dict[str, Any]:
    context = LambdaContext(request["request_id"], request["arn"], request["deadline_ms"])
    try:
        return {"result": handler(request["event"], context)}
    except Exception as error:
        traceback.print_exc()
        return {"error": _described(error)}


def _described(error: Exception) -> dict[str, Any]:
    return {
        "errorType": type(error).__name__,
        "errorMessage": str(error),
        "stackTrace": traceback.format_exception(error),
    }


def _send(replies: BinaryIO, reply: dict[str, Any]) -> None:
    try:
        frame = json.dumps(reply, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        frame = json.dumps({"error": _described(error)}).encode()
    if len(frame) > MAX_RESPONSE_BYTES:
        error_type = "Function.ResponseSizeTooLarge"
        message = f"Response payload size exceeded {MAX_RESPONSE_BYTES} bytes."
        details = {"errorType": error_type, "errorMessage": message, "stackTrace": []}
        frame = json.dumps({"error": details}).encode()
    replies.write(_LENGTH.pack(len(frame)) + frame)
    replies.flush()


def _read_frames(requests: BinaryIO, frames: queue.SimpleQueue[bytes | None]) -> None:
    while len(header := requests.read(_LENGTH.size)) == _LENGTH.size:
        frames.put(requests.read(_LENGTH.unpack(header)[0]))
    frames.put(None)
    # A handler that is still running loses its caller; it may not outlive the cloud for long.
    time.sleep(_SECONDS_TO_FINISH)
    os._exit(1)


def _take_channel() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to descriptors of our own; prints go to standard error, the log."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return requests, replies


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
