"""Event logs by the name of their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.sources.base import Window
from pipeline.sources.otto import OttoSource
from pipeline.sources.records import AvroSource, JsonlSource, ParquetSource
from pipeline.sources.retail import RetailSource
from pipeline.sources.sequences import SequencesSource
from pipeline.sources.source import Source
from pipeline.sources.synthetic import SyntheticSource
from schemas.errors import SourceError

SOURCES: Mapping[str, Callable[[Path | None, Window], Source]] = {
    "avro": AvroSource,
    "jsonl": JsonlSource,
    "otto": OttoSource,
    "parquet": ParquetSource,
    "retail": RetailSource,
    "sequences": SequencesSource,
    "synthetic": SyntheticSource,
}


def open_source(
    kind: str,
    path: Path | None = None,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> Source:
    """An event log, to be iterated in event-time order.

    Args:
        kind: a name in ``SOURCES``.
        path: the file, or a folder of files; None for a log that is made up.
        since_ms: the oldest event time to give, ms since 1970.
        until_ms: the first event time no longer to give.

    Raises:
        SourceError: there is no such kind or file, or (while iterating) a row is malformed.
    """
    if kind not in SOURCES:
        raise SourceError(
            "there is no such kind of event log",
            expected="one of " + ", ".join(SOURCES),
            received=kind,
            fix="choose the kind that fits the files",
        )
    return SOURCES[kind](path, Window(since_ms, until_ms))
