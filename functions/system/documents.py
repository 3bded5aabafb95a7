"""The OpenAPI document of all domains, generated ahead of time, and the page that shows it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

OPENAPI_FILE = Path(__file__).with_name("openapi.json")

# The viewer's files lie beside the dashboard (web/public/docs), so the page needs no other origin.
DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Da Vinci API</title>
<link rel="stylesheet" href="/docs-assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The document itself: <a href="/openapi.json">/openapi.json</a></noscript>
<script src="/docs-assets/swagger-ui-bundle.js"></script>
<script src="/docs-assets/start.js"></script>
</body>
</html>
"""
DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


@lru_cache(maxsize=1)
def openapi_text() -> str:
    """Return the committed document."""
    return OPENAPI_FILE.read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _methods_by_template() -> list[tuple[list[str], set[str]]]:
    document: dict[str, Any] = json.loads(openapi_text())
    return [
        (path[1:].split("/"), {method.upper() for method in item if method != "parameters"})
        for path, item in document["paths"].items()
    ]


def allowed_methods(path: str) -> set[str]:
    """Return the methods that some route offers at ``path``; empty if there is none."""
    parts = path[1:].split("/")
    found: set[str] = set()
    for template, methods in _methods_by_template():
        if _fits(template, parts):
            found |= methods
    return found


def _fits(template: list[str], parts: list[str]) -> bool:
    # A model's id may hold slashes, so a closing {model_id} takes the rest of the path.
    if template[-1] == "{model_id}" and len(parts) > len(template):
        parts = [*parts[: len(template) - 1], "/".join(parts[len(template) - 1 :])]
    return len(template) == len(parts) and all(
        expected == part or (part and expected.startswith("{"))
        for expected, part in zip(template, parts, strict=True)
    )
