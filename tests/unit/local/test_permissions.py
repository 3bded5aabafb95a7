"""Resource policies of queues: default deny, and no guessing."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.intrinsics import TemplateError
from infra.local.permissions import allows_events

QUEUE = "arn:aws:sqs:us-east-1:000000000000:work"
RULE = "arn:aws:events:us-east-1:000000000000:rule/bus/routed"
ALLOW = {
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": QUEUE,
}
DENY_PLAIN_TEXT = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "sqs:*",
    "Resource": QUEUE,
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([], False),
        ([ALLOW], True),
        ([ALLOW | {"Action": ["sqs:*"]}], True),
        ([ALLOW | {"Action": "sqs:ReceiveMessage"}], False),
        ([ALLOW | {"Resource": "*"}], True),
        ([ALLOW | {"Resource": QUEUE + "-other"}], False),
        ([ALLOW | {"Principal": {"Service": "sns.amazonaws.com"}}], False),
        ([ALLOW | {"Principal": {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}}], True),
        ([ALLOW | {"Principal": {"AWS": "*"}}], True),
        ([ALLOW | {"Condition": {"ArnEquals": {"aws:SourceArn": RULE}}}], True),
        ([ALLOW | {"Condition": {"ArnLike": {"aws:SourceArn": RULE[:-3] + "*"}}}], True),
        ([ALLOW | {"Condition": {"ArnEquals": {"aws:SourceArn": [RULE + "x"]}}}], False),
        ([ALLOW | {"Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"}}}], True),
        ([ALLOW | {"Condition": {"StringEquals": {"aws:SourceArn": RULE[:-3] + "*"}}}], False),
        ([ALLOW, DENY_PLAIN_TEXT], True),
        ([ALLOW, ALLOW | {"Effect": "Deny"}], False),
    ],
)
def test_policy_decides_who_may_send(statements: list[dict[str, Any]], allowed: bool) -> None:
    assert allows_events(statements, QUEUE, RULE) is allowed


@pytest.mark.parametrize(
    "condition",
    [{"NumericLessThan": {"aws:SourceArn": 1}}, {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}],
)
def test_condition_that_is_not_understood_is_an_error(condition: dict[str, Any]) -> None:
    with pytest.raises(TemplateError, match="is not supported locally"):
        allows_events([ALLOW | {"Condition": condition}], QUEUE, RULE)
