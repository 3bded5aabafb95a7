"""Write the event catalogue: one JSON schema per contract and a sample of each.

``python -m infra.local.event_schemas`` (part of ``make openapi``); ``--check`` only compares.
A published version never changes: a new shape is a new version class.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from shared.events.contracts import (
    CONTRACTS,
    EventData,
    FeedbackRecordedV1,
    NeuralRouteCompletedV1,
    OutcomeRecordedV1,
)

FOLDER = Path(__file__).resolve().parents[2] / "events"
_DECISION = "dec_019ab3c4d5e67f8091a2b3c4d5e6f708"
_ABOUT = {
    "decision_id": _DECISION,
    "level": "L3",
    "model": "openai/gpt-4o-mini",
    "policy_version_id": "019ab3c4-0000-7000-8000-000000000001",
    "track": "stable",
}
_SAMPLES: dict[type[EventData], dict[str, Any]] = {
    NeuralRouteCompletedV1: {
        "task_type": "math",
        "policy_name": "balanced",
        "policy_version": 1,
        "propensity": 0.925,
        "explored": False,
        "exploration_usd": 0.0,
        "caller": "key_019ab3c4d5e67f8091a2b3c4d5e6f709",
    },
    OutcomeRecordedV1: {
        "served_by": "openai/gpt-4o-mini",
        "failed": [],
        "status": "success",
        "error_class": None,
        "latency_ms": 842.0,
        "tokens_in": 31,
        "tokens_out": 212,
        "cost_usd": 0.00013185,
    },
    FeedbackRecordedV1: {
        "served_by": "openai/gpt-4o-mini",
        "feedback_source": "thumbs-widget",
        "score": 1.0,
        "reward_usd": 0.00381767,
        "propensity": 0.925,
    },
}


def catalogue() -> dict[Path, str]:
    """Return every file of the catalogue with its text."""
    files: dict[Path, str] = {}
    for contract in CONTRACTS:
        name = f"{contract.detail_type}/v{contract.version}.json"
        files[FOLDER / "schemas" / name] = _text(contract.model_json_schema())
        files[FOLDER / "samples" / name] = _text(_envelope(contract))
    return files


def _envelope(contract: type[EventData]) -> dict[str, Any]:
    """Return the event as a rule's target receives it from EventBridge."""
    data = contract.model_validate({**_ABOUT, **_SAMPLES[contract]})
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": contract.detail_type,
        "source": contract.source,
        "account": "123456789012",
        "time": "2026-11-22T14:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": {
            "event_id": "evt_019ab3c4d5e67f8091a2b3c4d5e6f70a",
            "sequence": 1,
            "occurred_at": "2026-11-22T14:00:00+00:00",
            "version": contract.version,
            "data": data.model_dump(mode="json"),
        },
    }


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the catalogue and return the exit code."""
    files = catalogue()
    if "--check" in arguments:
        stale = [
            path.relative_to(FOLDER)
            for path, text in files.items()
            if not path.exists() or path.read_text(encoding="utf-8") != text
        ]
        for path in stale:
            print(f"events/{path} is out of date: run 'make openapi'", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"Wrote {len(files)} files below events/.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
