"""The rules of deploy/acls.md, read from its table and from its commands."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "deploy" / "acls.md"


@dataclass(frozen=True, order=True)
class Rule:
    """One operation allowed to one user on one resource; kind: topic, group, ..."""

    user: str
    kind: str
    name: str
    prefixed: bool
    operation: str

    def binding(self) -> Any:
        """The rule as confluent_kafka has it."""
        from confluent_kafka.admin import AclBinding

        return AclBinding(*self._parts())

    def filter(self) -> Any:
        """What finds this rule and no other."""
        from confluent_kafka.admin import AclBindingFilter

        return AclBindingFilter(*self._parts())

    def _parts(self) -> tuple[Any, ...]:
        from confluent_kafka.admin import (
            AclOperation,
            AclPermissionType,
            ResourcePatternType,
            ResourceType,
        )

        kinds = {"cluster": "BROKER", "transactional-id": "TRANSACTIONAL_ID"}
        return (
            ResourceType[kinds.get(self.kind, self.kind.upper())],
            self.name,
            ResourcePatternType["PREFIXED" if self.prefixed else "LITERAL"],
            f"User:{self.user}",
            "*",
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.operation).upper()],
            AclPermissionType.ALLOW,
        )


def documented_rules() -> list[Rule]:
    """What the commands of the document allow."""
    lines = DOCUMENT.read_text().splitlines()
    return [rule for line in lines if line.startswith("acls --") for rule in _of_command(line)]


def _of_command(line: str) -> list[Rule]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", default="literal")
    parser.add_argument("--cluster", action="append_const", const="kafka-cluster")
    for kind in ("topic", "group", "transactional-id"):
        parser.add_argument(f"--{kind}", action="append", dest=kind)
    given = vars(parser.parse_args(shlex.split(line)[1:]))
    user = given["allow_principal"].removeprefix("User:")
    prefixed = given["resource_pattern_type"] == "prefixed"
    return [
        Rule(user, kind, name, prefixed, operation)
        for kind in ("topic", "group", "transactional-id", "cluster")
        for name, operation in product(given[kind] or [], given["operation"])
    ]


def tabled_rules() -> list[Rule]:
    """What the table of the document allows."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| headrace-")
    ]
    return [
        rule
        for user, resource, operations, _ in rows
        for rule in _of_row(user, resource, operations)
    ]


def _of_row(user: str, resource: str, operations: str) -> list[Rule]:
    kind, _, names = resource.partition(" ")
    kind = {"topics": "topic", "transactional": "transactional-id"}.get(kind, kind)
    listed = re.findall(r"`([^`]+)`", names.partition("(")[0]) or ["kafka-cluster"]
    return [
        Rule(user, kind, name.removesuffix("*"), name.endswith("*"), operation)
        for name, operation in product(listed, operations.split(", "))
    ]
