"""A field without documentation fails the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.schema import names, versions


def undocumented(schema: Any, path: str) -> Iterator[str]:
    """Paths of the records and fields in ``schema`` without a doc."""
    if isinstance(schema, list):
        for branch in schema:
            yield from undocumented(branch, path)
    elif isinstance(schema, dict):
        if schema["type"] == "record" and not schema.get("doc", "").strip():
            yield path
        for field in schema.get("fields", []):
            if not field.get("doc", "").strip():
                yield f"{path}.{field['name']}"
            yield from undocumented(field["type"], f"{path}.{field['name']}")
        for inner in ("type", "items", "values"):
            yield from undocumented(schema.get(inner), path)


@pytest.mark.parametrize("name", names())
def test_every_record_and_field_has_a_doc(name: str) -> None:
    for schema in versions(name):
        assert list(undocumented(schema.source, name)) == []


def test_a_missing_doc_is_found_wherever_it_is() -> None:
    inner = {
        "type": "record",
        "name": "Inner",
        "doc": "x",
        "fields": [{"name": "b", "type": "int"}],
    }
    outer = {
        "type": "record",
        "name": "Outer",
        "fields": [{"name": "a", "doc": "x", "type": ["null", {"type": "array", "items": inner}]}],
    }
    assert list(undocumented(outer, "outer")) == ["outer", "outer.a.b"]
