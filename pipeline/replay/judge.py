"""The reference verdict on one Kafka record, written apart from the Java decoder.

`judge` says what ``udfs/java`` must say: the numbers of a good record, or the reason why it is a
dead letter. It reads Avro with its own few lines, because here the oddities of a library (negative
indices, strings that are not UTF-8, numbers of eleven bytes) are what is judged, and it writes the
record again with fastavro to see whether the bytes are canonical.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Literal

import fastavro
import numpy as np
import xxhash

from pipeline.sections import DecodeSettings
from schemas.reasons import Reason
from schemas.schema import MAGIC, Schema, versions

HEADER_BYTES = 10
CONFLUENT_HEADER_BYTES = 5
ID_LIMIT_BYTES = 128
ACTIONS = ("forget", "rerank")

Record = Mapping[str, Any]
ById = Mapping[int, Schema | None]
"""What a registry holds: the schemas that can be read as ours; None for one that cannot."""
Action = Literal["event", "forget", "rerank"]


@dataclass(frozen=True)
class Decoded:
    """What a good record means to a profile.

    Attributes:
        user_id: equal to the record's key.
        action: ``event``, ``forget`` or ``rerank``.
        event_hash: XXH3-128 of the event's or order's id.
        item_hash: XXH3-64 of the item id; 0 for an order.
        event_type: position of the symbol in the newest schema; 0 for an order.
        event_time: ``event_time`` or ``as_of``, ms since 1970.
        amount: the event's ``value`` as a 32-bit float; 0 if absent.
    """

    user_id: str
    action: Action
    event_hash: int
    item_hash: int
    event_type: int
    event_time: int
    amount: float


class _BadAvroError(ValueError):
    """The bytes are not a record of the schema."""


def judge(
    value: bytes | None,
    key: bytes | None,
    timestamp_ms: int,
    limits: DecodeSettings,
    schema: str = "user_event",
    by_id: ById | None = None,
) -> Decoded | Reason:
    """The meaning of a record, or why it has none. Never raises on data.

    Args:
        timestamp_ms: the record's Kafka timestamp, ms since 1970.
        schema: ``user_event`` for the events topic, ``control`` for the control topic.
        by_id: the schema registry; None without one.
    """
    record = _read_record(value, limits, schema, by_id)
    if isinstance(record, Reason):
        return record
    reason = (
        _check_key(record, key)
        or _check_ids(record)
        or _check_time(record, timestamp_ms, limits)
        or _check_numbers(record)
    )
    if reason is not None:
        return reason
    return _event(record) if schema == "user_event" else _order(record)


def _read_record(
    value: bytes | None, limits: DecodeSettings, schema: str, by_id: ById | None
) -> Record | Reason:
    if value is None:
        return Reason.NULL_VALUE
    if len(value) > limits.max_value_bytes:
        return Reason.OVERSIZE
    framed = _unframed(value, schema, by_id)
    if isinstance(framed, Reason):
        return framed
    writer, data = framed
    body = _Body(data)
    try:
        written = body.read(writer)
        record = _resolve(written, _newest(schema))
        _require_utf8(record)
    except _BadAvroError:
        return Reason.AVRO_DECODE_FAILED
    if body.left:
        return Reason.TRAILING_BYTES
    if _write(writer, written) != data:
        return Reason.NOT_CANONICAL
    return record


def _unframed(value: bytes, schema: str, by_id: ById | None) -> tuple[Any, bytes] | Reason:
    """The writer's schema, and the record without its header."""
    if by_id is not None and len(value) >= CONFLUENT_HEADER_BYTES and value[0] == 0:
        schema_id = int.from_bytes(value[1:CONFLUENT_HEADER_BYTES], "big")
        if schema_id not in by_id:
            return Reason.UNKNOWN_SCHEMA
        found = by_id[schema_id]
        if found is None:
            return Reason.INCOMPATIBLE_SCHEMA
        return _strings_as_bytes(found.parsed), value[CONFLUENT_HEADER_BYTES:]
    if len(value) < HEADER_BYTES or not value.startswith(MAGIC):
        return Reason.INVALID_MAGIC_BYTE
    writer = _writers(schema).get(value[:HEADER_BYTES])
    return Reason.UNKNOWN_SCHEMA if writer is None else (writer, value[HEADER_BYTES:])


@cache
def _writers(schema: str) -> dict[bytes, Any]:
    """The kept versions by the header of their records."""
    return {v.header: _strings_as_bytes(v.parsed) for v in versions(schema)}


def _newest(schema: str) -> Any:
    return versions(schema)[-1].parsed


def _strings_as_bytes(schema: Any) -> Any:
    """Avro writes both alike, but only bytes survive when they are not UTF-8."""
    if isinstance(schema, dict):
        return {
            k: _strings_as_bytes(v) if k in ("type", "fields") else v for k, v in schema.items()
        }
    if isinstance(schema, list):
        return [_strings_as_bytes(branch) for branch in schema]
    return "bytes" if schema == "string" else schema


class _Body:
    """Avro binary, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def read(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return self.read(_at(schema, self._number(32)))
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind == "record":
            return {field["name"]: self.read(field["type"]) for field in schema["fields"]}
        if kind == "enum":
            return _at(schema["symbols"], self._number(32))
        if kind == "bytes":
            return self._take(self._number(64))
        if kind in ("int", "long"):
            return self._number(32 if kind == "int" else 64)
        if kind == "double":
            return struct.unpack("<d", self._take(8))[0]
        if kind == "null":
            return None
        raise TypeError(f"events and orders hold no {kind}")  # no data leads here

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.left):
            raise _BadAvroError(f"{count} bytes wanted, {len(self.left)} left")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def _number(self, bits: int) -> int:
        """A zigzag number of ``bits`` bits; the JVM drops those beyond, and so do we."""
        number = 0
        for shift in range(0, bits, 7):
            byte = self._take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                number &= (1 << bits) - 1
                return (number >> 1) ^ -(number & 1)
        raise _BadAvroError(f"a number of more than {bits} bits")


def _at(options: list[Any], index: int) -> Any:
    if not 0 <= index < len(options):
        raise _BadAvroError(f"option {index} of {len(options)}")
    return options[index]


def _resolve(record: Record, newest: Mapping[str, Any]) -> Record:
    """The record as one of the newest version: unknown fields dropped, new ones defaulted."""
    resolved = {}
    for field in newest["fields"]:
        content = record[field["name"]] if field["name"] in record else field["default"]
        enum = field["type"]
        if isinstance(enum, dict) and enum["type"] == "enum" and content not in enum["symbols"]:
            content = enum["default"]
        resolved[field["name"]] = content
    return resolved


def _require_utf8(record: Record) -> None:
    """Ids are judged later, by a reason of their own."""
    for name, content in record.items():
        if isinstance(content, bytes) and name not in _id_fields(record) and not _is_utf8(content):
            raise _BadAvroError(f"{name} is not UTF-8")


def _write(writer: Any, record: Record) -> bytes:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer, record)
    return buffer.getvalue()


def _id_fields(record: Record) -> tuple[str, ...]:
    return ("user_id", "item_id", "event_id") if "item_id" in record else ("user_id", "control_id")


def _check_key(record: Record, key: bytes | None) -> Reason | None:
    if not key:
        return Reason.MISSING_KEY
    return None if key == record["user_id"] else Reason.KEY_MISMATCH


def _check_ids(record: Record) -> Reason | None:
    for name in _id_fields(record):
        text = record[name]
        if len(text) > ID_LIMIT_BYTES:
            return Reason.ID_TOO_LONG
        if not text or not _is_utf8(text) or any(b < 0x20 or b == 0x7F for b in text):
            return Reason.BAD_ID
    return None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_time(record: Record, timestamp_ms: int, limits: DecodeSettings) -> Reason | None:
    time = record["event_time"] if "event_time" in record else record["as_of"]
    if limits.min_event_time_ms <= time <= timestamp_ms + limits.max_ahead_ms:
        return None
    return Reason.TIMESTAMP_OUT_OF_RANGE


def _check_numbers(record: Record) -> Reason | None:
    value, propensity = record.get("value"), record.get("propensity")
    finite = math.isfinite(_as_float32(value)) and math.isfinite(propensity or 0.0)
    return None if finite else Reason.NON_FINITE


def _as_float32(number: float | None) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.0 if number is None else float(np.float32(number))


def _event(record: Record) -> Decoded:
    return Decoded(
        user_id=record["user_id"].decode(),
        action="event",
        event_hash=xxhash.xxh3_128_intdigest(record["event_id"]),
        item_hash=xxhash.xxh3_64_intdigest(record["item_id"]),
        event_type=_event_types().index(record["event_type"]),
        event_time=record["event_time"],
        amount=_as_float32(record["value"]),
    )


@cache
def _event_types() -> list[str]:
    types = {field["name"]: field["type"] for field in _newest("user_event")["fields"]}
    return list(types["event_type"]["symbols"])


def _order(record: Record) -> Decoded | Reason:
    if record["action"] not in ACTIONS:
        return Reason.UNKNOWN_ACTION
    return Decoded(
        user_id=record["user_id"].decode(),
        action=record["action"],
        event_hash=xxhash.xxh3_128_intdigest(record["control_id"]),
        item_hash=0,
        event_type=0,
        event_time=record["as_of"],
        amount=0.0,
    )
