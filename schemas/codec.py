"""Records to bytes and back, with the schemas kept beside this file, in either of two framings.

    single-object encoding (Avro's own)              Confluent's, with a schema registry
    byte  0   C3 01                                  byte 0   00
    byte  2   CRC-64-AVRO of the writer schema's     byte 1   the writer schema's id in the
              canonical form, little-endian                   registry, big-endian
    byte 10   the record in Avro binary              byte 5   the record in Avro binary

Records are written in the newest version and read from any kept or registered one into the newest;
no schema is ever taken from a record. Times are plain integers in and out, milliseconds since 1970.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any, NoReturn

import fastavro

from schemas.errors import CodecError
from schemas.reasons import Reason
from schemas.schema import MAGIC, Schema, load, names, versions

__all__ = [
    "Decoder",
    "Encoder",
    "Schema",
    "SchemaById",
    "confluent_header",
    "decode",
    "encode",
    "header",
    "load",
    "names",
    "versions",
]

HEADER_BYTES = 10
CONFLUENT_HEADER_BYTES = 5

SchemaById = Callable[[int], Schema]
"""The writer's schema by its id in the registry; CodecError if there is none that can be read."""

# What fastavro raises for a record that does not fit the schema, and for bytes that are none.
_WRITE_ERRORS = (TypeError, ValueError, KeyError, OverflowError, AttributeError)
_READ_ERRORS = (
    EOFError,
    IndexError,
    ValueError,
    OverflowError,
    MemoryError,
    fastavro.read.SchemaResolutionError,
)


def header(name: str) -> bytes:
    """The 10 bytes that start every record written in the newest version of ``name``."""
    return load(name).header


def confluent_header(schema_id: int) -> bytes:
    """The 5 bytes that start a record in Confluent's framing.

    >>> confluent_header(258).hex(" ")
    '00 00 00 01 02'
    """
    return struct.pack(">BI", 0, schema_id)


class Encoder:
    """Writes records of one schema in its newest version; for loops that encode many.

    Args:
        name: of the schema.
        header: what starts each record; None: the header of single-object encoding.
    """

    def __init__(self, name: str, header: bytes | None = None) -> None:
        self._schema = load(name)
        self._header = self._schema.header if header is None else header

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """``record`` as header and Avro binary.

        Fields that the record leaves out take their default. A field that the schema does not
        have, a missing field without default or a value of the wrong type is a CodecError. Numbers
        are rounded to their type: a float to 32 bits.
        """
        schema = self._schema
        buffer = BytesIO()
        buffer.write(self._header)
        try:
            fastavro.schemaless_writer(buffer, schema.parsed, record, strict_allow_default=True)
        except _WRITE_ERRORS as error:
            raise CodecError(
                f"cannot encode a {schema.name}",
                expected=f"a record of schemas/{schema.name}.v{schema.version}.avsc",
                received=f"{type(error).__name__}: {error}",
                fix="correct the record; field names and types are in the schema",
            ) from error
        return buffer.getvalue()


class Decoder:
    """Reads records written in any of ``schemas`` into the last of them.

    Args:
        schemas: versions of one schema, oldest first.
        by_id: reads Confluent's framing, too; None: bytes in it are none of ours.
    """

    def __init__(self, schemas: Sequence[Schema], by_id: SchemaById | None = None) -> None:
        self._by_id = by_id
        self._reader = schemas[-1]
        self._writers = {schema.header: schema for schema in schemas}

    def decode(self, data: bytes, *, canonical: bool = True) -> dict[str, Any]:
        """The record in ``data``; CodecError, with a dead-letter ``reason``, if there is none.

        Args:
            data: one whole record, header included.
            canonical: also refuse bytes that encoding the record again would not give, such as an
                overlong number or a negative enum index. Costs as much again as decoding; leave it
                out only for records that our own encoder wrote.
        """
        writer, body_at = self._writer(data)
        body = BytesIO(data)
        body.seek(body_at)
        try:
            written = fastavro.schemaless_reader(body, writer.parsed, None)
        except _READ_ERRORS as error:
            self._refuse_content(writer, data, error)
        if body.tell() != len(data):
            raise CodecError(
                f"bytes follow the {writer.name}",
                reason=Reason.TRAILING_BYTES,
                expected=f"{body.tell()} bytes",
                received=f"{len(data)} bytes",
                fix="send one record in each message, with nothing after it",
            )
        if canonical:
            _require_canonical(writer, data[body_at:], written)
        if writer is self._reader:
            return written  # type: ignore[no-any-return]
        body.seek(body_at)
        return fastavro.schemaless_reader(body, writer.parsed, self._reader.parsed)  # type: ignore[no-any-return]

    def _writer(self, data: bytes) -> tuple[Schema, int]:
        """The writer's schema, and where the record begins."""
        writer = self._writers.get(data[:HEADER_BYTES])
        if writer is not None:
            return writer, HEADER_BYTES
        if self._by_id and len(data) >= CONFLUENT_HEADER_BYTES and data[0] == 0:
            (schema_id,) = struct.unpack_from(">I", data, 1)
            return self._by_id(schema_id), CONFLUENT_HEADER_BYTES
        name, start = self._reader.name, data[:HEADER_BYTES].hex(" ")
        if len(data) < HEADER_BYTES or data[:2] != MAGIC:
            raise CodecError(
                f"the bytes are not a {name} in Avro single-object encoding",
                reason=Reason.INVALID_MAGIC_BYTE,
                expected="c3 01 and 8 bytes of fingerprint, then the record",
                received=f"{len(data)} bytes: {start}",
                fix="encode with schemas.codec.encode, or look which program writes to the topic",
            )
        raise CodecError(
            f"the schema that the {name} was written in is not known",
            reason=Reason.UNKNOWN_SCHEMA,
            expected=" or ".join(known.hex(" ") for known in self._writers),
            received=start,
            fix=f"add the producer's version as schemas/{name}.v<N>.avsc",
        )

    def _refuse_content(self, writer: Schema, data: bytes, error: Exception) -> NoReturn:
        raise CodecError(
            f"the content of the {writer.name} cannot be read",
            reason=Reason.AVRO_DECODE_FAILED,
            expected=f"Avro binary of {writer.name} version {writer.version}, whole",
            received=f"{len(data)} bytes, {type(error).__name__}: {error}",
            fix="look at the producer: a cut-off message, or a schema under a wrong fingerprint",
        ) from error


def _require_canonical(writer: Schema, body: bytes, record: Mapping[str, Any]) -> None:
    again = BytesIO()
    try:
        fastavro.schemaless_writer(again, writer.parsed, record)
        same = again.getvalue() == body
        detail = "another encoding of the same record"
    except _WRITE_ERRORS as error:  # a number too long for its type
        same, detail = False, str(error)
    if not same:
        raise CodecError(
            f"the {writer.name} is not in its one canonical encoding",
            reason=Reason.NOT_CANONICAL,
            expected="the bytes that encoding the record again gives",
            received=detail,
            fix="encode with an Avro library: shortest numbers, arrays in one block",
        )


@cache
def _encoder(name: str) -> Encoder:
    return Encoder(name)


@cache
def _decoder(name: str) -> Decoder:
    return Decoder(versions(name))


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """``record`` in the newest version of schema ``name``, header included."""
    return _encoder(name).encode(record)


def decode(name: str, data: bytes, *, canonical: bool = True) -> dict[str, Any]:
    """The record in ``data``, written in any version of ``name``, as the newest; or CodecError."""
    return _decoder(name).decode(data, canonical=canonical)
