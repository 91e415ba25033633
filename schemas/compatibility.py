"""Proves that every kept version of a schema can read every other.

Avro's own rules (``avro.compatibility``) say whether the bytes resolve. Three more hold here,
because values outlive the schema that wrote them: a logical type never changes (milliseconds read
as microseconds resolve without an error), enum symbols keep their places (profile state holds the
number of an event type, not its name), and every enum has a default, so that the next version may
add a symbol.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import avro.errors
import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.errors import SchemaError
from schemas.schema import Schema


def require_compatible(schemas: Sequence[Schema]) -> None:
    """Raises SchemaError unless each of ``schemas``, versions of one, can read every other."""
    for schema in schemas:
        problems = [
            f"{path}: enum without default"
            for path, part in _parts(schema.source)
            if part["type"] == "enum" and "default" not in part
        ]
        _require_none(problems, f"{schema.name} version {schema.version} cannot grow")
    for reader, writer in permutations(schemas, 2):
        require_readable(reader, writer)


def require_readable(reader: Schema, writer: Schema) -> None:
    """Raises SchemaError unless ``reader`` can read what was written in ``writer``."""
    _require_none(
        [*_unresolved(reader, writer), *_changed(reader, writer)],
        f"{reader.name} version {reader.version} cannot read version {writer.version}",
    )


def _require_none(problems: Sequence[str], message: str) -> None:
    if problems:
        raise SchemaError(
            message,
            expected="every kept version reads every other",
            received="; ".join(problems),
            fix="add only fields with a default, and enum symbols at the end; change no type",
        )


def _unresolved(reader: Schema, writer: Schema) -> list[str]:
    """What Avro's rules of resolution have against ``reader`` reading ``writer``."""
    result = ReaderWriterCompatibilityChecker().get_compatibility(_avro(reader), _avro(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    places = ", ".join(sorted(result.locations))
    return [f"{places}: {message}" for message in sorted(result.messages)]


def _avro(schema: Schema) -> avro.schema.Schema:
    try:
        return avro.schema.parse(json.dumps(schema.source))
    except avro.errors.AvroException as error:
        raise SchemaError(
            f"{schema.name} version {schema.version} is refused by the avro library",
            expected="a schema that both fastavro and avro accept",
            received=f"{type(error).__name__}: {error}",
            fix=f"correct schemas/{schema.name}.v{schema.version}.avsc",
        ) from error


def _changed(reader: Schema, writer: Schema) -> Iterator[str]:
    """What Avro resolves without a word although its meaning changed."""
    written = dict(_parts(writer.source))
    for path, part in _parts(reader.source):
        other = written.get(path)
        if other is None:
            continue
        read_as, written_as = part.get("logicalType"), other.get("logicalType")
        if read_as != written_as:
            yield f"{path}: written as {written_as}, read as {read_as}"
        here, there = part.get("symbols", []), other.get("symbols", [])
        if any(ours != theirs for ours, theirs in zip(here, there, strict=False)):
            yield f"{path}: a symbol changed its place"


def _parts(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every type in ``schema``, as an object, with its path."""
    if isinstance(schema, str):
        yield path, {"type": schema}
    elif isinstance(schema, list):
        for branch in schema:
            name = branch if isinstance(branch, str) else branch.get("name", branch["type"])
            yield from _parts(branch, f"{path}|{name}")
    else:
        yield path, schema
        for inner in ("items", "values"):
            if inner in schema:
                yield from _parts(schema[inner], f"{path}/{inner}")
        for field in schema.get("fields", []):
            yield from _parts(field["type"], f"{path}/{field['name']}")
