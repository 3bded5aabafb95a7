"""An HTTP function that does what the request asks of it, good or bad."""

import base64
import json
import os
import sys
import time
from typing import Any


def handler(event: dict[str, Any], context: Any) -> Any:
    command = {}
    if event["rawPath"] in {"/api/do", "/v1/do", "/api/single"}:
        body = event.get("body", "{}")
        command = json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)
    started_at = time.time()
    time.sleep(command.get("sleep", 0))
    if command.get("burn"):
        end = time.perf_counter() + command["burn"]
        while time.perf_counter() < end:
            pass
    if "print" in command:
        print(command["print"])  # standard output is also the way of the replies on a bad day
        os.write(1, b"raw bytes on descriptor one\n")
    if "exit" in command:
        os._exit(command["exit"])
    if "sys_exit" in command:
        sys.exit("enough")
    if "raise" in command:
        raise ValueError(command["raise"])
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
