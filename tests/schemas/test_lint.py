"""Schemas that are dangerous to decode are refused, and say where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.errors import SchemaError
from schemas.lint import MAX_DEPTH, lint
from schemas.schema import names, versions


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
    }


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def nested(depth: int) -> Any:
    return "int" if depth == 1 else array(nested(depth - 1))


@pytest.mark.parametrize("name", names())
def test_our_own_schemas_are_safe(name: str) -> None:
    for schema in versions(name):
        lint(schema.source, name)


EMPTY = {"type": "fixed", "name": "Empty", "size": 0}
PART = {"type": "fixed", "name": "Part", "size": 1}


@pytest.mark.parametrize(
    "harmless",
    [
        record("R", a=array("int"), b={"type": "map", "values": "boolean"}),
        record("R", a=array(["null"])),  # the branch takes a byte
        record("R", a=array(array("null") | {"items": "int"})),
        record("R", a=array(record("Inner", a="null", b="int"))),
        record("R", a=PART, b=array("Part")),  # the same type twice is no recursion
        record("R", a="null"),
        {"type": "bytes", "logicalType": "uuid"},
        nested(MAX_DEPTH),
        "string",
    ],
)
def test_harmless_schemas_pass(harmless: Any) -> None:
    lint(harmless, "harmless")


@pytest.mark.parametrize(
    ("dangerous", "what", "where"),
    [
        (record("R", next=["null", "R"]), "recursion", "s/next/1"),
        (record("R", a=record("S", all=array("R"))), "recursion", "s/a/all/items"),
        (record("R", a=array("null")), "zero bytes", "s/a/items"),
        (record("R", a={"type": "map", "values": "null"}), "zero bytes", "s/a/values"),
        (record("R", a=array(EMPTY)), "zero bytes", "s/a/items"),
        (record("R", a=array(EMPTY | {"size": -1})), "zero bytes", "s/a/items"),
        (record("R", a=EMPTY, b=array("Empty")), "zero bytes", "s/b/items"),
        (record("R", a=array(record("None"))), "zero bytes", "s/a/items"),
        (record("R", a=array(record("N", x="null", y=EMPTY))), "zero bytes", "s/a/items"),
        (record("R", a=["null", array({"type": "null"})]), "zero bytes", "s/a/1/items"),
        (
            record("R", a={"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
            "decimal",
            "s/a",
        ),
        (
            record("R", a=array({"type": "bytes", "logicalType": "big-decimal"})),
            "decimal",
            "s/a/items",
        ),
        (nested(MAX_DEPTH + 1), "nesting", "s" + "/items" * MAX_DEPTH),
    ],
)
def test_dangerous_schemas_are_refused(dangerous: Any, what: str, where: str) -> None:
    with pytest.raises(SchemaError) as error:
        lint(dangerous, "s")
    assert error.value.message == f"dangerous to decode ({what}): {where}"


def test_a_small_schema_that_stands_for_a_huge_record_is_refused() -> None:
    """Each record holds the one before ten times: 10^5 values that may take no bytes at all."""
    schema: Any = "null"
    for level in range(5):
        fields = {f"f{at}": f"R{level - 1}" for at in range(1, 10)} if level else {}
        schema = record(f"R{level}", f0=schema, **fields)
    with pytest.raises(SchemaError, match="size"):
        lint(schema, "s")


def test_nesting_too_deep_for_the_parser_is_refused() -> None:
    text = '{"type":"array","items":' * 900 + '"int"' + "}" * 900
    with pytest.raises(SchemaError, match="nesting"):
        lint(json.loads(text), "s")


@pytest.mark.parametrize("broken", [{}, {"type": "record"}, "Unknown", 5, None, {"type": "array"}])
def test_what_is_no_schema_is_refused(broken: Any) -> None:
    with pytest.raises(SchemaError, match="is not an Avro schema"):
        lint(broken, "s")
