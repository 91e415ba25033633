"""Sorting more than fits in memory gives what sorting in memory gives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import UserEvent, sort, sort_by_time
from schemas.errors import SourceError
from tests.sources.examples import FULL, event


def events_at(times: list[int]) -> list[UserEvent]:
    return [event(number, time_ms) for number, time_ms in enumerate(times)]


def in_memory(events: list[UserEvent]) -> list[UserEvent]:
    return sorted(events, key=lambda event: event.event_time)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_sorted_and_stable_whatever_fits_in_memory(times: list[int], memory_events: int) -> None:
    events = events_at(times)
    assert list(sort_by_time(events, memory_events)) == in_memory(events)


def test_many_runs_are_merged_over_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "FAN_IN", 3)
    events = events_at([(7 * number) % 10 for number in range(103)])  # 51 runs: four levels
    assert list(sort_by_time(events, 2)) == in_memory(events)


def test_without_stability_the_comparison_would_fail() -> None:
    events = events_at([1, 1])
    assert in_memory(events[::-1]) != in_memory(events)


def test_every_field_survives_the_spill() -> None:
    assert list(sort_by_time([FULL, FULL, FULL], 1)) == [FULL] * 3


def test_no_more_than_memory_events_are_taken_before_the_first_spill(temporary: Path) -> None:
    seen = []

    def watched() -> Iterator[UserEvent]:
        for number in range(5):
            seen.append(len(list(temporary.rglob("*.avro"))))
            yield event(number, 9 - number)

    list(sort_by_time(watched(), 2))
    assert seen == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("read", [1, 5])
def test_files_are_gone_when_the_iterator_is_done_or_dropped(temporary: Path, read: int) -> None:
    events = sort_by_time(events_at([5, 4, 3, 2, 1]), 2)
    for _ in range(read):
        next(events)
    events.close()  # type: ignore[attr-defined]
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_reported(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastavro.writer", full)
    with pytest.raises(SourceError, match="No space left"):
        list(sort_by_time(events_at([2, 1]), 1))
