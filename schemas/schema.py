"""The schemas: ``schemas/<name>.v<N>.avsc``, one file per version, old versions beside new ones.

Times are plain integers (milliseconds since 1970) wherever we encode or decode: the
``logicalType`` of a field tells other tools what it means and is taken off here, where it would
turn integers into datetimes. It is no part of the canonical form, so the fingerprint is the same
with and without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.errors import SchemaError

FOLDER = Path(__file__).parent
MAGIC = b"\xc3\x01"

_FILE_NAME = re.compile(r"(?P<name>\w+)\.v(?P<version>\d+)\.avsc")


@dataclass(frozen=True)
class Schema:
    """One version of one schema.

    Attributes:
        name: as in the file name, such as ``user_event``.
        version: from 1.
        source: the schema as written, with docs and logical types.
        parsed: what fastavro reads and writes by: logical types are taken off.
        canonical: the parsing canonical form of the Avro specification.
        header: the 10 bytes that start every record written in it.
    """

    name: str
    version: int
    source: Mapping[str, Any] = field(repr=False)
    parsed: Mapping[str, Any] = field(repr=False)
    canonical: str = field(repr=False)
    header: bytes = field(repr=False)

    @classmethod
    def parse(cls, name: str, version: int, text: str) -> Schema:
        """The schema in ``text``, or SchemaError if it is not one."""
        try:
            source = json.loads(text)
            plain = _without_logical_types(source)
            parsed = fastavro.parse_schema(plain)
            canonical = to_parsing_canonical_form(plain)
        except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
            raise SchemaError(
                f"{name} version {version} is not an Avro schema",
                expected="an Avro schema in JSON",
                received=f"{type(error).__name__}: {error}",
                fix=f"correct schemas/{name}.v{version}.avsc",
            ) from error
        # fastavro gives the fingerprint as hex digits of the little-endian bytes.
        header = MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        return cls(name, version, source, parsed, canonical, header)


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    return schema


@cache
def versions(name: str) -> tuple[Schema, ...]:
    """Every version of schema ``name`` that is kept, oldest first."""
    found = sorted(
        (int(match["version"]), path)
        for path in FOLDER.glob("*.avsc")
        if (match := _FILE_NAME.fullmatch(path.name)) and match["name"] == name
    )
    if not found:
        raise SchemaError(
            "there is no such schema",
            expected="one of " + ", ".join(names()),
            received=name,
            fix="correct the name, or add schemas/<name>.v1.avsc",
        )
    return tuple(Schema.parse(name, number, path.read_text("utf-8")) for number, path in found)


def names() -> list[str]:
    """The names of all schemas, sorted."""
    return sorted({path.name.split(".")[0] for path in FOLDER.glob("*.avsc")})


def load(name: str, version: int | None = None) -> Schema:
    """Schema ``name`` in ``version``; the newest if none is given."""
    kept = versions(name)
    for schema in kept:
        if schema.version == version:
            return schema
    if version is None:
        return kept[-1]
    raise SchemaError(
        f"{name} has no version {version}",
        expected="one of " + ", ".join(str(schema.version) for schema in kept),
        received=str(version),
        fix=f"keep schemas/{name}.v{version}.avsc beside the newer ones",
    )
