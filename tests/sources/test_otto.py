"""OTTO sessions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.sources import UserEvent, open_source
from schemas.errors import SourceError
from tests.shared_data import shared_data
from tests.sources.examples import write

FIRST = (
    '{"session":7,"events":[{"aid":1,"ts":1600000000000,"type":"clicks"},'
    '{"aid":2,"ts":1600000000009,"type":"orders"}]}'
)
SECOND = '{"session":8,"events":[{"aid":1,"ts":1600000000005,"type":"carts"}]}'


def test_sessions_are_merged_by_time(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", FIRST, "", SECOND)
    assert list(open_source("otto", path)) == [
        UserEvent("otto-7-0", "7", "1", "click", 1_600_000_000_000),
        UserEvent("otto-8-0", "8", "1", "cart", 1_600_000_000_005),
        UserEvent("otto-7-1", "7", "2", "purchase", 1_600_000_000_009),
    ]
    assert [item.item_id for item in open_source("otto", path).items()] == ["1", "2"]
    assert open_source("otto", path).total == 3


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    assert list(open_source("otto", write(tmp_path / "log.jsonl"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"session":1}',
        '{"session":1,"events":[5]}',
        '{"session":1,"events":null}',
        '{"session":1,"events":[{"aid":1,"ts":"noon","type":"clicks"}]}',
        '{"session":1,"events":[{"aid":1,"ts":1,"type":"views"}]}',
        '{"session":1,"events":[{"aid":1,"ts":NaN,"type":"clicks"}]}',
        "[" * 100_000,
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    source = open_source("otto", write(tmp_path / "log.jsonl", FIRST, line))
    with pytest.raises(SourceError, match=r"log\.jsonl, line 2 is malformed") as error:
        list(source)
    assert error.value.expected
    assert len(error.value.received) <= 200


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(SourceError, match="line 1 is malformed"):
        list(open_source("otto", path))


def test_the_real_sample() -> None:
    source = open_source("otto", shared_data("otto_sample.jsonl"))
    events = list(source)
    assert len(events) == source.total == 862
    assert len({event.event_id for event in events}) == 862
    assert len({event.user_id for event in events}) == 20
    assert all(a.event_time <= b.event_time for a, b in pairwise(events))
