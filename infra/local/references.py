"""What ``Ref`` and ``Fn::GetAtt`` stand for on this machine: names and ARNs of one account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.intrinsics import ACCOUNT_ID, REGION, Resolver, TemplateError

FUNCTION = "AWS::Serverless::Function"
HTTP_API = "AWS::Serverless::HttpApi"
REST_API = "AWS::Serverless::Api"
QUEUE = "AWS::SQS::Queue"
QUEUE_POLICY = "AWS::SQS::QueuePolicy"
BUS = "AWS::Events::EventBus"
RULE = "AWS::Events::Rule"
_NAME_PROPERTY = {FUNCTION: "FunctionName", QUEUE: "QueueName", BUS: "Name", RULE: "Name"}
_IMPLICIT_API = "ServerlessHttpApi"  # SAM's, for functions that name no API


class References:
    """Names and ARNs of a template's resources.

    A resource that the local cloud does not run, such as a secret, has a readable placeholder.
    """

    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self._resources: Mapping[str, Any] = document["Resources"]
        self.resolve = Resolver(document, parameters, self)

    def ref(self, logical_id: str) -> Any:
        kind = self._type(logical_id)
        if kind == QUEUE:
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT_ID}/{self.name(logical_id)}"
        return self.name(logical_id) if kind in _NAME_PROPERTY else f"local:{logical_id}"

    def attribute(self, logical_id: str, name: str) -> Any:
        kind = self._type(logical_id)
        if kind not in _NAME_PROPERTY:
            return f"local:{logical_id}.{name}"
        if name == "Arn":
            return self.arn(logical_id)
        if (kind, name) in {(QUEUE, "QueueName"), (BUS, "Name")}:
            return self.name(logical_id)
        raise TemplateError(f"{kind} has no attribute {name} in the local cloud")

    def name(self, logical_id: str) -> str:
        """Return the physical name: the one given, else the logical id."""
        given = self._property(logical_id, _NAME_PROPERTY[self._type(logical_id)])
        return logical_id if given is None else str(given)

    def arn(self, logical_id: str) -> str:
        name, kind = self.name(logical_id), self._type(logical_id)
        if kind == FUNCTION:
            return f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"
        if kind == QUEUE:
            return f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}"
        if kind == BUS:
            return f"arn:aws:events:{REGION}:{ACCOUNT_ID}:event-bus/{name}"
        bus = self.bus_of_rule(logical_id)
        path = name if bus == "default" else f"{bus}/{name}"
        return f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/{path}"

    def bus_of_rule(self, logical_id: str) -> str:
        """Return the name of a rule's bus, which may be given by name or by ARN."""
        given = self._property(logical_id, "EventBusName") or "default"
        return str(given).rpartition("/")[2]

    def _type(self, logical_id: str) -> str:
        if logical_id == _IMPLICIT_API:
            return HTTP_API
        if logical_id not in self._resources:
            raise TemplateError(f"{logical_id} is neither a parameter nor a resource")
        return str(self._resources[logical_id]["Type"])

    def _property(self, logical_id: str, name: str) -> Any:
        return self.resolve((self._resources[logical_id].get("Properties") or {}).get(name))
