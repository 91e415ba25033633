"""Refuses schemas with which a few bytes could cost a reader its memory, stack or time.

A schema is trusted by whoever decodes with it, so it is looked at once, before its first use. Our
own are looked at in the tests; one from a registry or from a file's header, when it is fetched.

Refused: recursion; nesting deeper than ``MAX_DEPTH``; more than ``MAX_TYPES`` types once every
named type is written out; array items and map values that may take no bytes (a block count of a
billion in five bytes would then be a billion of them); decimals (their scale decides how much
arithmetic one costs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import fastavro

from schemas.errors import SchemaError

MAX_DEPTH = 8
MAX_TYPES = 1_000

# The fewest bytes that a value of the type takes in Avro binary.
_PRIMITIVE_BYTES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
_DECIMALS = {"decimal", "big-decimal"}


def lint(schema: Any, name: str) -> None:
    """Returns if ``schema`` is safe to decode with.

    Args:
        schema: an Avro schema as parsed JSON.
        name: what to call it in an error.

    Raises:
        SchemaError: it is dangerous, or no schema; says where in it.
    """
    named: dict[str, Mapping[str, Any]] = {}
    try:
        parsed = fastavro.parse_schema(schema, named_schemas=named, _force=True)
    except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise SchemaError(
            f"{name} is not an Avro schema",
            expected="an Avro schema in JSON, with every named type defined before it is used",
            received=f"{type(error).__name__}: {error}",
            fix="correct the schema",
        ) from error
    except RecursionError as error:
        _refuse(name, "nesting", f"at most {MAX_DEPTH} levels", "too many to parse", error)
    _Walk(named).least_bytes(parsed, name, ())


class _Walk:
    """One walk over a schema, named types written out wherever they are used."""

    def __init__(self, named: Mapping[str, Mapping[str, Any]]) -> None:
        self._named = named
        self._types = 0

    def least_bytes(self, schema: Any, path: str, within: tuple[str, ...]) -> int:
        """The fewest bytes that a value of ``schema`` can take; SchemaError if it is dangerous.

        Args:
            schema: a type, parsed by fastavro: names are full names.
            path: where it stands, for errors.
            within: what it stands in, outermost first: full names, or "" for types without.
        """
        self._types += 1
        if self._types > MAX_TYPES:
            _refuse(path, "size", f"at most {MAX_TYPES} types, named ones written out", "more")
        if len(within) >= MAX_DEPTH:
            _refuse(path, "nesting", f"at most {MAX_DEPTH} levels", "one more")
        if isinstance(schema, list):
            branches = [
                self.least_bytes(branch, f"{path}/{at}", (*within, ""))
                for at, branch in enumerate(schema)
            ]
            return 1 + min(branches, default=0)
        if isinstance(schema, str):
            if schema in _PRIMITIVE_BYTES:
                return _PRIMITIVE_BYTES[schema]
            if schema in within:
                _refuse(path, "recursion", "types that do not contain themselves", schema)
            schema = self._named[schema]
        if schema.get("logicalType") in _DECIMALS:
            _refuse(path, "decimal", "a long in the smallest unit, or a double", "decimal")
        return self._least_bytes_of_complex(schema, path, within)

    def _least_bytes_of_complex(
        self, schema: Mapping[str, Any], path: str, within: tuple[str, ...]
    ) -> int:
        kind = schema["type"]
        inside = (*within, schema.get("name", ""))
        if kind in ("record", "error"):
            return sum(
                self.least_bytes(field["type"], f"{path}/{field['name']}", inside)
                for field in schema["fields"]
            )
        if kind in ("array", "map"):
            part = "items" if kind == "array" else "values"
            if self.least_bytes(schema[part], f"{path}/{part}", inside) < 1:
                _refuse(
                    f"{path}/{part}", "zero bytes", f"{part} of at least one byte", schema[part]
                )
            return 1
        if kind == "fixed":
            return max(0, int(schema["size"]))
        return 1 if kind == "enum" else self.least_bytes(kind, path, within)


def _refuse(
    path: str, danger: str, expected: str, received: object, cause: Exception | None = None
) -> NoReturn:
    raise SchemaError(
        f"dangerous to decode ({danger}): {path}",
        expected=expected,
        received=str(received)[:200],
        fix="change the schema at that place",
    ) from cause
