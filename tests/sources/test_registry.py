"""Opening a log by its kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sources import SOURCES, open_source
from schemas.errors import SourceError
from tests.sources.examples import write

FILE_KINDS = ["avro", "jsonl", "otto", "parquet", "retail", "sequences"]


def test_every_kind_of_file_is_there() -> None:
    assert set(FILE_KINDS) <= set(SOURCES)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match="expected: one of avro, jsonl, otto") as error:
        open_source("csv", Path("log.csv"))
    assert error.value.received == "csv"


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_a_missing_file_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no event log") as error:
        open_source(kind, tmp_path / "absent")
    assert error.value.received.endswith("absent")


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_no_path_and_an_empty_folder_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="received: no path"):
        open_source(kind)
    with pytest.raises(SourceError, match="there is no event log"):
        open_source(kind, tmp_path)


def test_a_path_for_a_log_that_is_made_up_is_refused() -> None:
    with pytest.raises(SourceError, match="made up") as error:
        open_source("synthetic", Path("log.csv"))
    assert "--source" in error.value.fix


def test_files_of_a_folder_are_one_log(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "2 20 21")
    write(tmp_path / "a.txt", "1 10 11")
    write(tmp_path / "notes.md", "not a log")
    items = [event.item_id for event in open_source("sequences", tmp_path)]
    assert items == ["10", "20", "11", "21"]
