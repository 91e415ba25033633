from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.export import export
from pipeline.sources import WRITERS, open_source, write_jsonl
from schemas.errors import SourceError
from tests.sources.examples import FULL, PLAIN, START_MS


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    write_jsonl(path, [PLAIN, FULL])
    return path


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_log_is_written_in_order_in_the_format_of_the_suffix(log: Path, kind: str) -> None:
    path = log.parent / "new" / f"copy.{kind}"
    told = export(open_source("jsonl", log), path)
    assert told == {"file": str(path), "events": 2, "left_out": {}}
    assert list(open_source(kind, path)) == [FULL, PLAIN]


def test_rows_that_are_left_out_are_counted(log: Path) -> None:
    told = export(open_source("jsonl", log, until_ms=START_MS + 2), log.with_name("part.avro"))
    assert (told["events"], told["left_out"]) == (1, {"outside_window": 1})


def test_a_terminal_sees_how_far_it_is(log: Path) -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True)
    export(open_source("jsonl", log), log.with_name("copy.avro"), console)
    assert "exporting" in screen.getvalue()


@pytest.mark.parametrize("name", ["log.csv", "log"])
def test_another_suffix_is_refused_before_anything_is_written(log: Path, name: str) -> None:
    path = log.with_name(name)
    with pytest.raises(SourceError, match=r"\.avro, \.jsonl, \.parquet"):
        export(open_source("jsonl", log), path)
    assert not path.exists()


def test_a_file_that_is_there_is_not_written_over(log: Path) -> None:
    before = log.read_bytes()
    with pytest.raises(SourceError, match="is there already"):
        export(open_source("jsonl", log), log)
    assert log.read_bytes() == before


def test_a_malformed_log_leaves_no_file(log: Path) -> None:
    log.write_text(json.dumps({"event_id": "e"}))
    with pytest.raises(SourceError, match="line 1 is malformed"):
        export(open_source("jsonl", log), log.with_name("copy.avro"))
    assert [file.name for file in log.parent.iterdir()] == [log.name]
