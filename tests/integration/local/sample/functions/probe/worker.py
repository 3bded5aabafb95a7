"""A worker that writes down what it sees, and fails as the message asks."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

JOURNAL = Path(os.environ["DAVINCI_HOME"]) / "journal.ndjson"


def handler(event: dict[str, Any], context: Any) -> Any:
    if "Records" not in event:
        write({"event": event, "function": context.function_name})
        if event.get("fail"):
            raise RuntimeError("asked to fail")
        return None
    failed = []
    for record in event["Records"]:
        detail = json.loads(record["body"])["detail"]
        write({"detail": detail, "record": record, "batch": len(event["Records"])})
        receives = int(record["attributes"]["ApproximateReceiveCount"])
        if receives <= detail.get("kill_receives", 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if receives <= detail.get("hang_receives", 0):
            time.sleep(60)
        if receives <= detail.get("fail_receives", 0):
            failed.append({"itemIdentifier": record["messageId"]})
        if detail.get("response"):
            return detail["response"]
    return {"batchItemFailures": failed}


def write(line: dict[str, Any]) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps(line | {"pid": os.getpid(), "at": time.time()}) + "\n")
