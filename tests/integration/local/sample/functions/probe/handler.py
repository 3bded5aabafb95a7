"""An HTTP function that does what the request asks of it, good or bad."""

import base64
import json
import os
import sys
import time
from typing import Any


def handler(event: dict[str, Any], context: Any) -> Any:
    command = read_command(event)
    started_at = time.time()
    time.sleep(command.get("sleep", 0))
    burn(command.get("burn", 0))
    if "print" in command:
        sys.stdout.write(command["print"] + "\n")
        os.write(1, b"raw bytes on descriptor one\n")
    end_badly(command)
    if "answer" in command:
        return command["answer"]
    if "big" in command:
        return {"statusCode": 200, "body": "x" * command["big"]}
    if "unserializable" in command:
        return {"statusCode": 200, "body": object()}
    report = {
        "event": event,
        "pid": os.getpid(),
        "started_at": started_at,
        "ended_at": time.time(),
        "remaining_ms": context.get_remaining_time_in_millis(),
        "context": {
            "function_name": context.function_name,
            "memory_limit_in_mb": context.memory_limit_in_mb,
            "invoked_function_arn": context.invoked_function_arn,
            "aws_request_id": context.aws_request_id,
        },
        "environment": dict(os.environ),
    }
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": json.dumps(report),
    }


def read_command(event: dict[str, Any]) -> dict[str, Any]:
    if event["rawPath"] not in {"/api/do", "/v1/do", "/api/single"}:
        return {}
    body = event.get("body", "{}")
    command: dict[str, Any] = json.loads(
        base64.b64decode(body) if event["isBase64Encoded"] else body
    )
    return command


def burn(seconds: float) -> None:
    """Use the processor, as a handler that decides something does."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def end_badly(command: dict[str, Any]) -> None:
    if "exit" in command:
        os._exit(command["exit"])
    if "sys_exit" in command:
        sys.exit("enough")
    if "raise" in command:
        raise ValueError(command["raise"])
