"""Logs that hold UserEvents as they are: Avro container files, Parquet and JSON lines.

Fields are those of ``schemas/user_event.*.avsc``; other columns are passed over, optional ones may
be missing, and an event type that the schema does not know becomes ``unknown``.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro

from pipeline.sources.base import EVENT_TYPES, OPEN, UserEvent, Window
from pipeline.sources.columns import BATCH_ROWS, is_sorted, open_parquet, rows_of, times_ms
from pipeline.sources.lines import count_in_lines, json_lines
from pipeline.sources.source import FileSource, malformed
from pipeline.sources.times import millis
from schemas import codec
from schemas.errors import SourceError
from schemas.lint import lint

REQUIRED = ("event_id", "user_id", "item_id", "event_type", "event_time")
OPTIONAL: Mapping[str, type] = {
    "value": float,
    "session_id": str,
    "surface": str,
    "position": int,
    "request_id": str,
    "propensity": float,
}
# What fastavro raises for a damaged file: it trusts the header, so that is almost anything.
_READ_ERRORS = (
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    MemoryError,
    AttributeError,
    zlib.error,
    fastavro.schema.SchemaParseException,
    fastavro.read.SchemaResolutionError,
)


class AvroSource(FileSource):
    """Avro container files, such as ``headrace export`` and Kafka connectors write."""

    suffix = ".avro"

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for path in self.files:
            with path.open("rb") as file:
                try:
                    yield from map(_from_avro, _records(file, path))
                except _READ_ERRORS as error:
                    raise SourceError(
                        f"cannot read {path}",
                        expected="an Avro container file of UserEvents",
                        received=f"{type(error).__name__}: {error}",
                        fix="write the file again, with the schema in schemas/",
                    ) from error


def _records(file: Any, path: Path) -> Iterator[dict[str, Any]]:
    records = fastavro.reader(file, reader_schema=codec.load("user_event").parsed)
    lint(records.writer_schema, str(path))
    return records  # type: ignore[no-any-return]


def _from_avro(record: dict[str, Any]) -> UserEvent:
    time = record["event_time"]
    if isinstance(time, datetime):  # the file's own schema has the logical type
        record["event_time"] = millis(time)
    return UserEvent(**record)


class ParquetSource(FileSource):
    """Parquet; times are int64 milliseconds, timestamps or ISO strings, NaN means no value."""

    suffix = ".parquet"

    def __init__(self, path: Path | None, window: Window = OPEN) -> None:
        super().__init__(path, window)
        self.total = rows_of(self.files, REQUIRED)

    def in_order(self) -> bool:
        return is_sorted(self.files, "event_time")

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for path in self.files:
            with open_parquet(path, REQUIRED) as file:
                present = [name for name in OPTIONAL if name in file.schema_arrow.names]
                start = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=[*REQUIRED, *present]):
                    place = f"{path}, rows from {start}"
                    for record in _records_of(batch, present, place):
                        yield UserEvent(**record)
                    start += len(batch)


def _records_of(batch: Any, present: list[str], place: str) -> Iterator[dict[str, Any]]:
    """The rows of a record batch with the columns REQUIRED and ``present``, typed."""
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = {name: batch[name].cast(pa.string()) for name in REQUIRED[:-1]}
    columns["event_time"] = times_ms(batch["event_time"])
    empty = [name for name, column in columns.items() if column.null_count]
    if empty:
        raise malformed(place, f"a value in each of {', '.join(REQUIRED)}", f"null in {empty}")
    columns |= {name: batch[name].cast(types[OPTIONAL[name]]) for name in present}
    for values in zip(*(column.to_pylist() for column in columns.values()), strict=True):
        record = dict(zip(columns, values, strict=True))
        record["event_type"] = _known(record["event_type"])
        for name in ("value", "propensity"):
            number = record.get(name)
            if number is not None and math.isnan(number):
                record[name] = None
        yield record


class JsonlSource(FileSource):
    """JSON lines, one object an event; ``event_time`` in milliseconds."""

    suffix = ".jsonl"

    @cached_property
    def total(self) -> int:
        return count_in_lines(self.files, lambda line: 1)

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for place, line in json_lines(self.files):
            try:
                yield _from_json(line)
            except (KeyError, TypeError) as error:
                raise malformed(
                    place,
                    f"an object with {', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}",
                    f"{type(error).__name__}: {error}",
                ) from error


def _from_json(line: dict[str, Any]) -> UserEvent:
    texts = {name: _typed(line, name, str) for name in REQUIRED[:-1]}
    texts["event_type"] = _known(texts["event_type"])
    given = {name: kind for name, kind in OPTIONAL.items() if line.get(name) is not None}
    return UserEvent(
        **texts,
        event_time=_typed(line, "event_time", int),
        **{name: _typed(line, name, kind) for name, kind in given.items()},
    )


def _typed(line: dict[str, Any], name: str, kind: type) -> Any:
    value = line[name]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{name} is {value!r}, not of type {kind.__name__}")
    return value


def _known(event_type: str) -> str:
    return event_type if event_type in EVENT_TYPES else "unknown"
