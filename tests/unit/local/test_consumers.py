"""How Lambda reads the answer to a batch."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.consumers import failed_items

BATCH = {"a", "b"}


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, {"b"}),
        ({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}, BATCH),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, BATCH),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, BATCH),
        ({"batchItemFailures": [{"id": "a"}]}, BATCH),
        ({"batchItemFailures": [{"itemIdentifier": "c"}]}, BATCH),
        ({"batchItemFailures": [{"itemIdentifier": ["a"]}]}, BATCH),
        ({"batchItemFailures": "ab"}, BATCH),
        ({"statusCode": 200}, BATCH),
        ("done", BATCH),
        (3, BATCH),
    ],
)
def test_failed_items(result: Any, failed: set[str]) -> None:
    assert set(failed_items(result, BATCH)) == failed
