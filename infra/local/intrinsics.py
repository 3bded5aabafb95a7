"""CloudFormation's language: YAML short tags, references, conditions.

Only what ``template.yaml`` needs. A function that is not listed in ``Resolver`` is an error, so
that the local cloud never runs a system that differs from the deployed one without saying so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"

_PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT_ID,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/davinci/local",
    "AWS::StackName": "davinci",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()
_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]+)\}")


class TemplateError(ValueError):
    """The template holds something that AWS would refuse, or that does not run locally."""


class Resources(Protocol):
    """What references to resources stand for."""

    def ref(self, logical_id: str) -> Any:
        """Return the value of ``Ref``."""
        ...

    def attribute(self, logical_id: str, name: str) -> Any:
        """Return the value of ``Fn::GetAtt``."""
        ...


class _Loader(yaml.SafeLoader):
    """YAML as CloudFormation reads it: dates stay text, ``!Sub x`` is ``{"Fn::Sub": x}``."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _short_tag(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short_tag)


def load_document(path: Path) -> dict[str, Any]:
    """Read a template as data, intrinsic functions unresolved.

    Raises
    ------
    TemplateError
        If the file is missing or is not a template.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path} has no Resources")
    return document


class Resolver:
    """Replaces intrinsic functions by their values."""

    def __init__(
        self, document: Mapping[str, Any], parameters: Mapping[str, str], resources: Resources
    ) -> None:
        self._declared: Mapping[str, Any] = document.get("Parameters") or {}
        self._conditions: Mapping[str, Any] = document.get("Conditions") or {}
        self._given = parameters
        self._resources = resources
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Condition": self.condition,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": lambda value: str(value[0]).join(map(str, self(value[1]))),
            "Fn::If": lambda value: self(value[1] if self.condition(value[0]) else value[2]),
            "Fn::Equals": lambda value: self(value[0]) == self(value[1]),
            "Fn::And": lambda value: all(map(self, value)),
            "Fn::Or": lambda value: any(map(self, value)),
            "Fn::Not": lambda value: not self(value[0]),
        }

    def __call__(self, value: Any) -> Any:
        """Return ``value`` with every intrinsic function inside it resolved."""
        if isinstance(value, list):
            items = (self(item) for item in value)
            return [item for item in items if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name in self._functions:
                return self._functions[name](argument)
            if str(name).startswith("Fn::"):
                raise TemplateError(f"{name} is not supported by the local cloud")
        pairs = ((key, self(item)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _NO_VALUE}

    def condition(self, name: str) -> bool:
        """Return whether a named condition holds."""
        if name not in self._conditions:
            raise TemplateError(f"condition {name} is not declared")
        return bool(self(self._conditions[name]))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in _PSEUDO_PARAMETERS:
            return _PSEUDO_PARAMETERS[name]
        if name not in self._declared:
            return self._resources.ref(name)
        if name in self._given:
            return self._given[name]
        declared = self._declared[name]
        if str(declared.get("Type", "")).startswith("AWS::SSM::"):
            raise TemplateError(f"parameter {name} lives in SSM: give it a value")
        if "Default" not in declared:
            raise TemplateError(f"parameter {name} has no default: give it a value")
        return declared["Default"]

    def _get_att(self, value: str | list[str]) -> Any:
        logical_id, name = value.split(".", 1) if isinstance(value, str) else value
        return self._resources.attribute(logical_id, name)

    def _sub(self, value: str | list[Any]) -> str:
        text, extra = (value, {}) if isinstance(value, str) else (value[0], self(value[1]))

        def replace(match: re.Match[str]) -> str:
            is_literal, name = match.groups()
            if is_literal:
                return f"${{{name}}}"
            if name in extra:
                return str(extra[name])
            return str(self._get_att(name) if "." in name else self._ref(name))

        return _PLACEHOLDER.sub(replace, text)
