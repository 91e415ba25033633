"""Every version kept reads every other; each way to break that is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.compatibility import require_compatible
from schemas.errors import SchemaError
from schemas.schema import Schema, load, names, versions

Change = Callable[[list[dict[str, Any]]], object]


def changed(change: Change) -> list[Schema]:
    """user_event, and a version 2 whose list of fields went through ``change``."""
    source = json.loads(json.dumps(load("user_event", 1).source))
    change(source["fields"])
    return [load("user_event", 1), Schema.parse("user_event", 2, json.dumps(source))]


def set_type(at: int, kind: Any) -> Change:
    return lambda fields: fields[at].update(type=kind)


@pytest.mark.parametrize("name", names())
def test_all_kept_versions_read_each_other(name: str) -> None:
    require_compatible(versions(name))


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.append({"name": "n", "type": ["null", "string"], "default": None}),
        lambda fields: fields.pop(7),  # surface, which has a default
        lambda fields: fields[3]["type"]["symbols"].append("wish"),
        lambda fields: fields[0].update(doc="better words"),
        lambda fields: fields.reverse(),
    ],
)
def test_changes_that_are_allowed(change: Change) -> None:
    require_compatible(changed(change))


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda fields: fields.append({"name": "country", "type": "string"}), "country"),
        (lambda fields: fields.pop(0), "event_id"),
        (lambda fields: fields[0].update(name="id"), "id"),
        (set_type(0, "long"), "string not compatible with writer type: long"),
        (set_type(4, "long"), "written as None, read as timestamp-millis"),
        (set_type(4, {"type": "long", "logicalType": "timestamp-micros"}), "timestamp-micros"),
        (set_type(5, ["null", "float"]), "reader union lacking writer type: DOUBLE"),
        (set_type(5, ["null", "string"]), "union"),
        (set_type(0, ["null", "string"]), "null"),
        (lambda fields: fields[3]["type"]["symbols"].remove("view"), "changed its place"),
        (lambda fields: fields[3]["type"]["symbols"].insert(1, "wish"), "changed its place"),
        (lambda fields: fields[3]["type"].pop("default"), "enum without default"),
        (lambda fields: fields[3]["type"].update(name="Kind"), "expected: headrace.Kind"),
    ],
)
def test_changes_that_break_a_reader(change: Change, received: str) -> None:
    with pytest.raises(SchemaError) as error:
        require_compatible(changed(change))
    assert received in error.value.received


def test_an_optional_time_keeps_its_unit() -> None:
    def optional(unit: str) -> Schema:
        kind = ["null", {"type": "long", "logicalType": unit}]
        fields = [{"name": "at", "type": kind, "default": None}]
        return Schema.parse("r", 1, json.dumps({"type": "record", "name": "R", "fields": fields}))

    require_compatible([optional("timestamp-millis"), optional("timestamp-millis")])
    with pytest.raises(SchemaError, match="written as timestamp-micros, read as timestamp-millis"):
        require_compatible([optional("timestamp-millis"), optional("timestamp-micros")])


def test_a_digest_that_grows_is_refused() -> None:
    old = load("recommendation_list", 1)
    text = json.dumps(old.source).replace('"size": 32', '"size": 64')
    with pytest.raises(SchemaError, match="cannot read version") as error:
        require_compatible([old, Schema.parse(old.name, 2, text)])
    assert "expected: 64, found: 32" in error.value.received


def test_what_only_the_avro_library_refuses() -> None:
    twice = {"name": "a", "type": "int"}
    text = json.dumps({"type": "record", "name": "R", "fields": [twice, twice]})
    schema = Schema.parse("r", 1, text)
    with pytest.raises(SchemaError, match="refused by the avro library"):
        require_compatible([schema, schema])
