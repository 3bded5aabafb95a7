"""Runs in litellm's own environment: calls a gateway in every way and prints what came, as JSON.

``python litellm_script.py BASE_URL KEY MODEL EMBEDDER``. Nothing of the project is imported here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore]

BASE_URL, KEY, MODEL, EMBEDDER = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
AT = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": KEY, "num_retries": 0}


def completion() -> Any:
    done = litellm.completion(messages=MESSAGES, temperature=0.2, **AT)
    return {"text": done.choices[0].message.content, "usage": _counts(done.usage)}


def stream() -> Any:
    pieces = list(
        litellm.completion(
            messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **AT
        )
    )
    last = next(piece.usage for piece in reversed(pieces) if getattr(piece, "usage", None))
    return {"text": _said(pieces), "usage": _counts(last), "pieces": len(pieces)}


def tools() -> Any:
    # Without this switch 1.106 looks for MCP servers, and fails where the package mcp is missing.
    given = AT | {"tools": [WEATHER], "_skip_mcp_handler": True}
    done = litellm.completion(messages=MESSAGES, **given)
    (call,) = done.choices[0].message.tool_calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


def embedding() -> Any:
    given = AT | {"model": f"openai/{EMBEDDER}"}
    done = litellm.embedding(input=["one two", "three"], encoding_format="float", **given)
    return [item["embedding"] for item in done.data]


def asynchronous() -> Any:
    async def call() -> Any:
        return await litellm.acompletion(messages=MESSAGES, **AT)

    return asyncio.run(call()).choices[0].message.content


def asynchronous_stream() -> Any:
    async def call() -> Any:
        return [p async for p in await litellm.acompletion(messages=MESSAGES, stream=True, **AT)]

    return _said(asyncio.run(call()))


def router() -> Any:
    """Two deployments under one name: the first is not there, the second serves."""
    gone = {**AT, "api_base": "http://127.0.0.1:9/v1"}
    deployments = [
        {"model_name": "talker", "litellm_params": {**gone, "order": 1}},
        {"model_name": "talker", "litellm_params": {**AT, "order": 2}},
    ]
    chosen = litellm.Router(model_list=deployments, num_retries=3, retry_after=0)
    done = [chosen.completion("talker", messages=MESSAGES) for _ in range(4)]
    return [answer.choices[0].message.content for answer in done]


def bad_key() -> Any:
    return litellm.completion(messages=MESSAGES, **(AT | {"api_key": "dv_wrong"}))


def no_model() -> Any:
    return litellm.completion(messages=MESSAGES, **(AT | {"model": "openai/acme/nobody"}))


def bad_request() -> Any:
    return litellm.completion(messages=MESSAGES, max_tokens=0, **AT)


def limited() -> Any:
    return litellm.completion(messages=MESSAGES, **(AT | {"model": "openai/acme/limited"}))


def broken() -> Any:
    return litellm.completion(messages=MESSAGES, **(AT | {"model": "openai/acme/broken"}))


def broken_stream() -> Any:
    given = AT | {"model": "openai/acme/breaks-off"}
    return _said(list(litellm.completion(messages=MESSAGES, stream=True, **given)))


CALLS: tuple[Callable[[], Any], ...] = (
    completion, stream, tools, embedding, asynchronous, asynchronous_stream, router, bad_key,
    no_model, bad_request, limited, broken, broken_stream,
)  # fmt: skip


def _counts(usage: Any) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens]


def _said(pieces: list[Any]) -> str:
    return "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)


def main() -> None:
    found: dict[str, Any] = {}
    for call in CALLS:
        try:
            found[call.__name__] = call()
        except Exception as error:  # noqa: BLE001  # what is raised is what is to be seen
            names = [kind.__name__ for kind in type(error).__mro__]
            found[call.__name__] = {"raised": names, "said": str(error)[:300]}
    print(json.dumps(found))  # noqa: T201


main()
