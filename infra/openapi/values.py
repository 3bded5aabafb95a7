"""Example values by the name of a member, where the schema itself gives none.

A name means the same everywhere (see the glossary), so one table keeps every example coherent:
the decision of one answer is the decision of the next.
"""

from __future__ import annotations

from typing import Any

INSTANT = "2026-11-22T14:00:00Z"
_HEX = "019ab3c4d5e67f8091a2b3c4d5e6f708"

# Path parameters: what the ids look like. A route takes any text and answers 404 to what is none.
ID_PATTERN = "^{}_[0-9a-f]{{32}}$"
ID_OF_PARAMETER = {
    "decision_id": "dec", "policy_id": "pol", "key_id": "key", "user_id": "usr",
    "deployment_id": "dep", "webhook_id": "whk", "alert_id": "alt", "feedback_id": "fbk",
}  # fmt: skip
IDS = {name: f"{prefix}_{_HEX}" for name, prefix in ID_OF_PARAMETER.items()}

BY_NAME: dict[str, Any] = {
    **IDS,
    "id": _HEX,
    "email": "admin@davinci.local",
    "password": "correct horse battery staple",
    "current_password": "correct horse battery staple",
    "new_password": "a longer horse, a better battery",
    "access_token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3IifQ.c2ln",
    "refresh_token": "b3BhcXVlLTI1Ni1iaXQtdG9rZW4tc2hvd24tb25jZS0wMDE",
    "secret": "dv_local_0000000000000000000000000000001S7u4W",
    "prefix": "dv_local_0000",
    "expires_in": 900,
    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "9f86d081",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "name": "checkout-service",
    "label": "wrong-language", "source": "thumbs-widget",
    "labels": {"team": "search", "application": "checkout"},
    "created_by": "usr_" + _HEX, "caller": "key_" + _HEX, "actor": "usr_" + _HEX,
    "actor_id": "usr_" + _HEX, "caller_id": "key_" + _HEX,
    "event_id": "evt_" + _HEX, "request_id": _HEX,
    "model": "openai/gpt-4o-mini", "requested_model": "auto", "runner_up": "openai/gpt-4o",
    "leader": "openai/gpt-4o-mini", "primary": "openai/gpt-4o-mini",
    "models": ["openai/gpt-4o-mini"], "fallbacks": ["openai/gpt-4o"],
    "provider": "openai", "owned_by": "openai", "base_url": "https://api.openai.com/v1",
    "upstream_name": "gpt-4o-mini", "region": "eu-west-1", "policy": "balanced",
    "prompt": "Prove that 17 is prime.", "content": "Prove that 17 is prime.",
    "session_id": "conversation-7",
    "why": "openai/gpt-4o-mini has the largest expected utility at L1.",
    "why_not": None, "reason": "The interval of the advantage excludes 0.",
    "change": "cost_usd", "description": "Cheap where it can be, good where it must be.",
    "objective": "latency first", "strategy": "thompson", "target": "policy cost-aware@3",
    "detail": "Answered in 1.2 ms.", "version": 3, "links": {"docs": "/docs"},
    "environment": "prod", "flags": ["no feedback yet"], "warnings": [],
    "differences": [], "impossible": None, "problem": None, "error_class": None,
    "next_cursor": None,
    "attempts": [{"model": "openai/gpt-4o-mini", "error_class": None, "status": 200,
                  "latency_ms": 412.0}],
    "features": [0.12, 0.0, 1.0], "text": None, "answer": None, "seed": 4711,
    "type": "feedback.recorded", "title": "Invalid input", "instance": "/api/neural/route",
    "data": {"decision_id": "dec_" + _HEX, "score": 0.9},
    "input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6, "context_tokens": 128_000,
    "probability": 0.9, "propensity": 0.9, "quality": 0.82, "score": 0.9, "level_confidence": 0.93,
    "cost_usd": 0.00021, "latency_ms": 412.0, "utility_usd": 0.0079, "reward_usd": 0.0082,
    "tokens_in": 12, "tokens_out": 240, "status": "ok", "window": "24h",
    "revision": 1, "sequence": 1042, "requests": 1200, "decisions": 1200,
    "before": None, "after": {"enabled": True}, "action": "models.update",
    "resource": "models/openai/gpt-4o-mini",
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}  # fmt: skip

BY_UNIT: dict[str, Any] = {
    "_at": INSTANT, "_usd": 0.0021, "_ms": 12.5, "_s": 1.5, "_share": 0.25, "_sd": 0.05,
    "_24h": 1200, "_tokens": 240, "_per_day": 0.0001, "_rate": 0.999, "_ratio": 0.5, "_mean": 0.8,
}  # fmt: skip

# What is no JSON of ours.
BY_MEDIA: dict[tuple[str, str], Any] = {
    ("system_metrics", "text/plain"): "# TYPE davinci_decisions_total counter\n"
    "davinci_decisions_total 1200\n",
    ("system_docs", "text/html"): "<!doctype html><title>Da Vinci</title>",
    ("system_openapi", "application/json"): {"openapi": "3.1.0"},
    ("events_stream", "text/event-stream"): 'retry: 2000\n\nid: 1042\nevent: feedback.recorded\n'
    'data: {"sequence":1042,"type":"feedback.recorded"}\n\n',
    ("neural_history", "text/csv"): "decision_id,created_at,model,level\r\n"
    f"dec_{_HEX},{INSTANT},openai/gpt-4o-mini,L1\r\n",
    ("learning_replay", "application/x-ndjson"): '{"decision_id":"dec_' + _HEX + '",'
    '"action":"openai/gpt-4o-mini","propensity":0.9,"reward_usd":0.0082}\n',
    ("gateway_chat_completions", "application/json"): {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1795356000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "17 has no divisor but itself."}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21},
    },
    ("gateway_chat_completions", "text/event-stream"): 'data: {"object":"chat.completion.chunk",'
    '"choices":[{"index":0,"delta":{"content":"17"}}]}\n\ndata: [DONE]\n\n',
    ("gateway_embeddings", "application/json"): {
        "object": "list", "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.03]}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    },
}  # fmt: skip
