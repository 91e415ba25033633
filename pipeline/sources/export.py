"""Writes events to files that ``pipeline.sources.records`` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import fastavro

from pipeline.sources.base import UserEvent
from pipeline.sources.columns import BATCH_ROWS
from pipeline.sources.records import OPTIONAL, REQUIRED
from schemas import codec
from schemas.errors import SourceError


def write_avro(path: Path, events: Iterable[UserEvent]) -> int:
    """Writes an Avro container file; returns how many events."""
    tally = _Tally(events)
    with _whole(path) as part, part.open("wb") as file:
        records = (event.as_record() for event in tally)
        fastavro.writer(file, codec.load("user_event").source, records, codec="deflate")
    return tally.count


def write_jsonl(path: Path, events: Iterable[UserEvent]) -> int:
    """Writes JSON lines, without the fields that are not set; returns how many events."""
    tally = _Tally(events)
    with _whole(path) as part, part.open("w", encoding="utf-8") as file:
        for event in tally:
            record = {name: v for name, v in event.as_record().items() if v is not None}
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    return tally.count


def write_parquet(path: Path, events: Iterable[UserEvent]) -> int:
    """Writes Parquet, ``event_time`` as UTC timestamps in milliseconds; returns how many events."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int32(), float: pa.float64()}
    schema = pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in REQUIRED[:-1]]
        + [pa.field("event_time", pa.timestamp("ms", tz="UTC"), nullable=False)]
        + [pa.field(name, types[kind]) for name, kind in OPTIONAL.items()]
    )
    tally = _Tally(events)
    with _whole(path) as part, pq.ParquetWriter(part, schema) as writer:
        rows = iter(tally)
        while batch := [event.as_record() for event in islice(rows, BATCH_ROWS)]:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return tally.count


WRITERS: Mapping[str, Callable[[Path, Iterable[UserEvent]], int]] = {
    "avro": write_avro,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


class _Tally:
    """Passes events on and counts them."""

    def __init__(self, events: Iterable[UserEvent]) -> None:
        self._events = events
        self.count = 0

    def __iter__(self) -> Iterator[UserEvent]:
        for event in self._events:
            self.count += 1
            yield event


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place only if all went well."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(
            f"cannot write {path}",
            expected="events that fit the schema, and a folder with room for them",
            received=f"{type(error).__name__}: {error}",
            fix="choose another path, or correct the events",
        ) from error
    finally:
        part.unlink(missing_ok=True)
