"""Logs of our own schema: written, read, and refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources import WRITERS, UserEvent, open_source
from schemas import codec
from schemas.errors import SchemaError, SourceError
from tests.sources.examples import FULL, PLAIN, START_MS, event, write

KINDS = sorted(WRITERS)
ROW = {name: value for name, value in PLAIN.as_record().items() if value is not None}

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
random_events = st.builds(
    UserEvent,
    text,
    text,
    text,
    st.sampled_from(["unknown", "view", "share"]),
    st.integers(0, 4_000_000_000_000),
    value=st.none() | finite,
    session_id=st.none() | text,
    position=st.none() | st.integers(-(2**31), 2**31 - 1),
    propensity=st.none() | finite,
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"log.{kind}"
    assert WRITERS[kind](path, [FULL, PLAIN]) == 2
    assert list(open_source(kind, path)) == [FULL, PLAIN]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.lists(random_events, max_size=4))
def test_any_events_come_back_sorted(tmp_path: Path, kind: str, events: list[UserEvent]) -> None:
    path = tmp_path / f"log.{kind}"
    WRITERS[kind](path, events)
    expected = sorted(events, key=lambda event: event.event_time)
    assert list(open_source(kind, path)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_log(kind: str, tmp_path: Path) -> None:
    assert WRITERS[kind](tmp_path / f"log.{kind}", []) == 0
    assert list(open_source(kind, tmp_path / f"log.{kind}")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_export_leaves_what_was_there(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"log.{kind}"
    WRITERS[kind](path, [PLAIN])
    broken = UserEvent("e", "u", "i", "click", START_MS, value="much")  # type: ignore[arg-type]
    if kind == "jsonl":
        broken = UserEvent("e", "u", "i", "click", START_MS, value=math.nan)
    with pytest.raises(SourceError, match="cannot write"):
        WRITERS[kind](path, [FULL, broken])
    assert list(open_source(kind, path)) == [PLAIN]
    assert len(list(tmp_path.iterdir())) == 1


def parquet(folder: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "log.parquet")
    return folder / "log.parquet"


def test_parquet_needs_the_required_columns_only(tmp_path: Path) -> None:
    source = open_source("parquet", parquet(tmp_path, ROW | {"country": "TR"}))
    assert list(source) == [PLAIN]
    assert source.total == 1


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("event_time", "2020-09-13T12:26:40", "event_time", START_MS),
        ("event_time", pa.scalar(START_MS * 1000, pa.timestamp("us")), "event_time", START_MS),
        ("value", math.nan, "value", None),
        ("value", 3, "value", 3.0),
        ("item_id", 17, "item_id", "17"),
        ("event_type", "wink", "event_type", "unknown"),
    ],
)
def test_parquet_types_are_converted(
    tmp_path: Path, column: str, value: Any, field: str, expected: object
) -> None:
    row = ROW | {column: value.as_py() if isinstance(value, pa.Scalar) else value}
    (read,) = open_source("parquet", parquet(tmp_path, row))
    assert getattr(read, field) == expected


def test_sorted_parquet_is_not_sorted_again(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"event_time": START_MS}]
    assert not open_source("parquet", parquet(tmp_path, *rows)).in_order()
    source = open_source("parquet", parquet(tmp_path, *rows[::-1]))
    assert source.in_order()
    assert [read.event_time for read in source] == [START_MS, PLAIN.event_time]


def test_parquet_without_a_required_column(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "user_id"}
    with pytest.raises(SourceError, match="lacks columns") as error:
        open_source("parquet", parquet(tmp_path, row))
    assert "user_id" in error.value.fix


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"user_id": None}, "null in ['user_id']"),
        ({"event_time": None}, "null in ['event_time']"),
        ({"event_time": "noon"}, "noon"),
    ],
)
def test_parquet_values_that_cannot_be_read(
    tmp_path: Path, change: dict[str, Any], received: str
) -> None:
    with pytest.raises(SourceError, match=r"log\.parquet") as error:
        list(open_source("parquet", parquet(tmp_path, ROW | change)))
    assert received in error.value.received


def test_a_file_of_another_kind_is_pointed_out(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet", json.dumps(ROW))
    for kind in ("parquet", "retail"):
        with pytest.raises(SourceError, match="--source"):
            open_source(kind, path)


@pytest.mark.parametrize(
    ("text", "total"), [("", 0), ("{}\n\n{}\n", 2), ("{}\n{}", 2)], ids=["none", "blank", "cut"]
)
def test_json_lines_are_counted(tmp_path: Path, text: str, total: int) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    assert open_source("jsonl", tmp_path / "log.jsonl").total == total


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": None},
        {"user_id": 5},
        {"event_time": 1.5},
        {"event_time": "2020-01-01"},
        {"event_time": True},
        {"value": "much"},
        {"position": 1.0},
    ],
)
def test_a_json_line_of_the_wrong_type_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "log.jsonl", json.dumps(ROW), "", json.dumps(ROW | change))
    with pytest.raises(SourceError, match=r"log\.jsonl, line 3 is malformed") as error:
        list(open_source("jsonl", path))
    assert next(iter(change)) in error.value.received


def test_a_json_line_without_a_required_field_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", '{"event_id": "e"}')
    with pytest.raises(SourceError, match="line 1 is malformed"):
        list(open_source("jsonl", path))


def test_a_json_line_may_have_more_and_a_whole_number_for_a_float(tmp_path: Path) -> None:
    line = json.dumps(ROW | {"country": "TR", "value": 3, "event_type": "wink", "surface": None})
    (read,) = open_source("jsonl", write(tmp_path / "log.jsonl", line))
    assert (read.value, read.event_type, read.surface) == (3.0, "unknown", None)


def test_avro_of_another_version_is_resolved(tmp_path: Path) -> None:
    source = json.loads(json.dumps(codec.load("user_event", 1).source))
    source["fields"] = [field for field in source["fields"] if field["name"] != "surface"]
    source["fields"].append({"name": "country", "type": "string"})
    source["fields"][3]["type"]["symbols"].append("wish")
    record = FULL.as_record() | {"country": "TR", "event_type": "wish"}
    record.pop("surface")
    with (tmp_path / "log.avro").open("wb") as file:
        fastavro.writer(file, source, [record])
    (read,) = open_source("avro", tmp_path / "log.avro")
    assert read.as_record() == FULL.as_record() | {"surface": None, "event_type": "unknown"}


def test_avro_with_a_dangerous_schema_is_refused(tmp_path: Path) -> None:
    source = json.loads(json.dumps(codec.load("user_event", 1).source))
    source["fields"].append({"name": "bomb", "type": {"type": "array", "items": "null"}})
    with (tmp_path / "log.avro").open("wb") as file:
        fastavro.writer(file, source, [FULL.as_record() | {"bomb": [None] * 9}])
    with pytest.raises(SchemaError, match=r"zero bytes.*bomb"):
        list(open_source("avro", tmp_path / "log.avro"))


def test_avro_of_something_else_is_refused(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "int"}]}
    with (tmp_path / "log.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"a": 1}])
    with pytest.raises(SourceError, match="expected: an Avro container file of UserEvents"):
        list(open_source("avro", tmp_path / "log.avro"))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_avro_raises_nothing_but_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "good" / "log.avro"
    if not path.exists():
        WRITERS["avro"](path, [event(number, START_MS + number) for number in range(50)])
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytes([data.draw(st.integers(0, 255))])
    bad = tmp_path / "bad.avro"
    bad.write_bytes(data.draw(st.sampled_from([good[:at], good[:at] + changed + good[at + 1 :]])))
    try:
        list(open_source("avro", bad))
    except (SourceError, SchemaError):
        return
