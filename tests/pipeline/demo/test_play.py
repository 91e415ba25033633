"""What the demo sends: every event at its due time, and faults that are what they claim to be."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from pipeline.config import load_settings
from pipeline.demo.play import (
    FORGOTTEN_USERS,
    LATE_BY_MS,
    Record,
    busiest_user,
    farewell,
    play,
    quiet_users,
    spoilt,
)
from pipeline.replay.judge import judge
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import Shop
from schemas import codec
from schemas.reasons import Reason

SETTINGS = load_settings(environ={})
START_MS = 1_700_000_000_000
RATE = 100.0
EVENTS = list(Shop(seed=1, users=50).events(4000, 0, 1))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(play(EVENTS, SETTINGS.kafka, START_MS, RATE, seed=1))


def verdict(record: Record) -> object:
    """A dead-letter reason, or what the job would fold."""
    now_ms = START_MS + round(record.due_s * 1000)
    return judge(record.value, record.key, now_ms, SETTINGS.decode, "user_event")


def faults(records: list[Record]) -> tuple[list[Record], list[Record]]:
    """Doubled records and bad ones: those that are no event's first."""
    doubled, bad = [], []
    for before, record in pairwise(records):
        if record.event is None:
            (doubled if record.value == before.value else bad).append(record)
    return doubled, bad


def test_the_same_seed_gives_the_same_play(records: list[Record]) -> None:
    assert list(play(EVENTS, SETTINGS.kafka, START_MS, RATE, seed=1)) == records
    assert list(play(EVENTS, SETTINGS.kafka, START_MS, RATE, seed=2)) != records


def test_every_event_is_sent_once_in_order_at_its_due_time(records: list[Record]) -> None:
    good = [record for record in records if record.event is not None]
    assert [record.event.event_id for record in good] == [event.event_id for event in EVENTS]
    assert [record.due_s for record in good] == [at / RATE for at in range(len(EVENTS))]
    assert all(one.due_s <= other.due_s for one, other in pairwise(records))
    assert {record.topic for record in records} == {SETTINGS.kafka.events_topic}


def test_an_event_is_stamped_with_its_due_time_unless_it_is_late(records: list[Record]) -> None:
    behind_ms = Counter()
    for record in records:
        if record.event is not None:
            event = codec.decode("user_event", record.value)
            assert event == record.event.as_record()
            assert record.key == event["user_id"].encode()
            behind_ms[START_MS + round(record.due_s * 1000) - event["event_time"]] += 1
            assert not isinstance(verdict(record), Reason)
    assert behind_ms.keys() == {0, LATE_BY_MS}
    assert 0 < behind_ms[LATE_BY_MS] < len(EVENTS) / 50


def test_there_are_a_few_faults_of_each_kind(records: list[Record]) -> None:
    doubled, bad = faults(records)
    assert len(EVENTS) / 200 < len(doubled) < len(EVENTS) / 50
    assert len(EVENTS) / 400 < len(bad) < len(EVENTS) / 100


def test_bad_records_become_dead_letters_for_different_reasons(records: list[Record]) -> None:
    _, bad = faults(records)
    reasons = {verdict(record) for record in bad}
    assert all(isinstance(reason, Reason) for reason in reasons)
    assert len(reasons) >= 4


def test_a_spoilt_value_is_never_decodable() -> None:
    chance = random.Random(3)
    for event in EVENTS[:300]:
        key, value = event.user_id.encode(), codec.encode("user_event", event.as_record())
        record = Record(0.0, "events", key, spoilt(value, chance))
        assert isinstance(verdict(record), Reason)
        good = Record(0.0, "events", key, codec.encode("user_event", at_start(event)))
        assert not isinstance(verdict(good), Reason)  # negative control


def at_start(event: UserEvent) -> dict[str, object]:
    return event.as_record() | {"event_time": START_MS}


def test_a_farewell_is_an_order_and_an_event_that_comes_too_late() -> None:
    order, straggler = farewell("ann", SETTINGS.kafka, START_MS, 4.0)
    assert (order.topic, order.due_s, order.key) == (SETTINGS.kafka.control_topic, 4.0, b"ann")
    told = codec.decode("control", order.value)
    assert (told["user_id"], told["action"], told["as_of"]) == ("ann", "forget", START_MS)
    assert (straggler.topic, straggler.key) == (SETTINGS.kafka.events_topic, b"ann")
    assert straggler.due_s > order.due_s
    event = codec.decode("user_event", straggler.value)
    assert event["user_id"] == "ann"
    assert event["event_time"] <= told["as_of"]


def test_who_is_followed_is_never_forgotten() -> None:
    forgotten = quiet_users(EVENTS)
    assert len(forgotten) == FORGOTTEN_USERS
    assert busiest_user(EVENTS) not in forgotten
    assert set(forgotten) <= {event.user_id for event in EVENTS}
