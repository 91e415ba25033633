"""What is known of items, in any of the files that people have."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from pipeline.items import read_items
from schemas.errors import SourceError

ROWS = [
    {"item_id": "7", "title": "Oak Lamp", "category": None, "price": 30.5, "provider": "acme"},
    {"item_id": "8", "title": None, "category": "light|new", "price": None, "provider": None},
]
EXPECTED = {
    "7": {"title": "Oak Lamp", "price": 30.5, "provider": "acme"},
    "8": {"category": "light|new"},
}


def test_parquet_with_vectors(tmp_path: Path) -> None:
    rows = [row | {"vector": [1.0, float(place)]} for place, row in enumerate(ROWS)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    found = read_items(tmp_path / "items.parquet")
    assert found == {
        "7": EXPECTED["7"] | {"vector": [1.0, 0.0]},
        "8": EXPECTED["8"] | {"vector": [1.0, 1.0]},
    }


def test_csv_and_json_lines(tmp_path: Path) -> None:
    csv.write_csv(pa.Table.from_pylist(ROWS), tmp_path / "items.csv")
    found = read_items(tmp_path / "items.csv")
    assert found["7"] == EXPECTED["7"]
    assert found["8"]["category"] == "light|new"
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert read_items(tmp_path / "items.jsonl") == EXPECTED


def test_json_objects_of_fields_or_of_attributes(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"7": {"title": "Oak Lamp", "weight": 3}, "8": [4, "new"]}))
    assert read_items(path) == {"7": {"title": "Oak Lamp"}, "8": {"category": "4|new"}}


@pytest.mark.parametrize(
    ("name", "text", "received"),
    [
        ("items.csv", "id,title\n1,x\n", "columns id, title"),
        ("items.json", "[1]", "no object but list"),
        ("items.json", "{", "line 1"),
        ("items.parquet", "junk", "arquet"),
        ("items.txt", "x", "'.txt'"),
        ("items.csv", "item_id,price\n1,cheap\n", "cheap"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, received: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=received) as error:
        read_items(tmp_path / name)
    assert name in error.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.parquet"):
        read_items(tmp_path / "none.parquet")
