"""Event logs as iterators of UserEvent."""

from pipeline.sources.base import EVENT_TYPES, Item, UserEvent, Window
from pipeline.sources.export import WRITERS, write_avro, write_jsonl, write_parquet
from pipeline.sources.registry import SOURCES, open_source
from pipeline.sources.sort import sort_by_time
from pipeline.sources.source import Source
from pipeline.sources.times import parse_time

__all__ = [
    "EVENT_TYPES",
    "SOURCES",
    "WRITERS",
    "Item",
    "Source",
    "UserEvent",
    "Window",
    "open_source",
    "parse_time",
    "sort_by_time",
    "write_avro",
    "write_jsonl",
    "write_parquet",
]
