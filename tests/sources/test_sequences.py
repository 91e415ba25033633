"""Item sequences without times."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from pipeline.sources import UserEvent, open_source
from pipeline.sources.sequences import START_MS, STEP_MS
from schemas.errors import SourceError
from tests.shared_data import shared_data
from tests.sources.examples import write


def test_all_first_items_come_before_all_second_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "1 a b", "2 c", "", "3 a d e")
    source = open_source("sequences", path)
    events = list(source)
    assert len(events) == source.total
    assert [event.item_id for event in events] == ["a", "c", "a", "b", "d", "e"]
    assert events[4] == UserEvent("sequence-3-1", "3", "d", "click", START_MS + STEP_MS + 2)


def test_a_user_without_items_is_malformed(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "1 a", "2")
    with pytest.raises(SourceError, match=r"log\.txt, line 2 is malformed"):
        list(open_source("sequences", path))


def test_one_user_and_an_empty_file(tmp_path: Path) -> None:
    one = open_source("sequences", write(tmp_path / "one.txt", "1 a"))
    assert [event.user_id for event in one] == ["1"]
    assert list(open_source("sequences", write(tmp_path / "none.txt"))) == []


def test_a_window_cuts_every_users_sequence(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "1 a b c", "2 d e f")
    source = open_source("sequences", path, since_ms=START_MS + STEP_MS)
    assert [event.item_id for event in source] == ["b", "e", "c", "f"]
    assert source.counts == {"outside_window": 2}


def test_the_real_log_gives_every_sequence_back() -> None:
    path = shared_data("s3rec_beauty.txt")
    sequences = defaultdict(list)
    for event in open_source("sequences", path):
        sequences[event.user_id].append(event.item_id)
    lines = path.read_text().splitlines()
    assert {user: items for user, *items in map(str.split, lines)} == sequences
    assert len(sequences) == 22_363
