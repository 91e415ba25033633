"""UserEvent mirrors the schema; Source filters, counts and sorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields

import pytest

from pipeline.sources import EVENT_TYPES, Item, Source, UserEvent, Window
from schemas import codec
from tests.sources.examples import FULL, PLAIN, event


class Given(Source):
    """A log made of the times it is given."""

    def __init__(self, times: list[int], window: Window) -> None:
        super().__init__(window)
        self.times = times

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for number, time_ms in enumerate(self.times):
            if time_ms < 0:
                counts["negative"] += 1
            else:
                yield event(number, time_ms)


def test_fields_are_those_of_the_schema_in_its_order() -> None:
    schema = codec.load("user_event").source
    assert [field.name for field in fields(UserEvent)] == [f["name"] for f in schema["fields"]]
    assert list(FULL.as_record()) == [f["name"] for f in schema["fields"]]


def test_event_types_are_those_of_the_schema_in_its_order() -> None:
    assert tuple(codec.load("user_event").source["fields"][3]["type"]["symbols"]) == EVENT_TYPES


@pytest.mark.parametrize("given", [FULL, PLAIN])
def test_an_event_survives_the_wire(given: UserEvent) -> None:
    data = codec.encode("user_event", given.as_record())
    assert UserEvent(**codec.decode("user_event", data)) == given


def test_events_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAIN.user_id = "another"  # type: ignore[misc]


def test_a_source_sorts_filters_and_counts() -> None:
    source = Given([50, 30, -1, 10, 40, 20], Window(20, 50))
    assert [event.event_time for event in source] == [20, 30, 40]
    assert source.counts == {"negative": 1, "outside_window": 2}


def test_a_source_can_be_read_again_and_counts_anew() -> None:
    source = Given([2, -1, 1], Window())
    assert list(source) == list(source)
    assert source.counts == {"negative": 1}


def test_items_are_those_in_the_window_and_leave_the_counts_alone() -> None:
    source = Given([5, 6, 7], Window(6, None))
    assert list(source.items()) == [Item("i-1"), Item("i-2")]
    assert source.counts == {}


def test_a_window_takes_its_first_millisecond_and_not_its_last() -> None:
    window = Window(10, 20)
    assert [time_ms for time_ms in (9, 10, 19, 20) if time_ms in window] == [10, 19]
