"""What came out is counted by offsets, from the topics."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from pipeline import kafka
from pipeline.config import load_settings
from pipeline.demo.watch import Published, Tally, Watch, hit_rates, percentiles
from schemas import codec
from tests.pipeline.test_consume import record

SETTINGS = load_settings(flags={"kafka.audit_topic": "audit"}, environ={})


@dataclass(frozen=True)
class Message:
    """A Kafka record, as far as a watch looks."""

    topic_name: str
    data: bytes | None
    place: tuple[int, int] = (0, 0)
    key_bytes: bytes = b"u"
    timestamp_ms: int = 0
    header_pairs: dict[str, bytes] = field(default_factory=dict)
    failed: bool = False

    def topic(self) -> str:
        return self.topic_name

    def value(self) -> bytes | None:
        return self.data

    def key(self) -> bytes:
        return self.key_bytes

    def partition(self) -> int:
        return self.place[0]

    def offset(self) -> int:
        return self.place[1]

    def timestamp(self) -> tuple[int, int]:
        return 1, self.timestamp_ms

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.header_pairs.items())

    def error(self) -> str | None:
        return "end of partition" if self.failed else None


class Consumer:
    """Hands out the messages, then tells that it has none left."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.messages = list(messages)
        self.emptied = threading.Event()
        self.closed = False

    def poll(self, timeout_s: float) -> Message | None:
        if self.messages:
            return self.messages.pop(0)
        self.emptied.set()
        return None

    def close(self) -> None:
        self.closed = True


def watched(monkeypatch: pytest.MonkeyPatch, *messages: Message) -> Tally:
    """The tally of a watch that saw these messages."""
    consumer = Consumer(messages)
    monkeypatch.setattr(kafka, "reader", lambda settings, topics: consumer)
    watch = Watch(SETTINGS)
    watch.start()
    assert consumer.emptied.wait(10)
    watch.close()
    assert consumer.closed
    return watch.tally


def outcome(text: str) -> Message:
    return Message("audit", text.encode())


def dead_letter(stage: bytes, partition: int, offset: int) -> Message:
    headers = {
        "dlq.stage": stage,
        "dlq.partition": b"%d" % partition,
        "dlq.offset": b"%d" % offset,
        "dlq.reason": b"OVERSIZE",
    }
    return Message(SETTINGS.kafka.dead_letters_topic, b"", header_pairs=headers)


def listed(user: str, *items: str, cause: str = "event") -> Message:
    ranked = [{"item_id": item, "score": 0.5, "reason": "cooccurrence"} for item in items]
    made = record(user, 1, items=ranked, cause=cause)
    value = codec.encode("recommendation_list", made)
    return Message(SETTINGS.kafka.recommendations_topic, value, key_bytes=user.encode())


def test_an_offset_counts_once_however_often_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = watched(
        monkeypatch,
        outcome("events,0,1,applied"),
        outcome("events,0,2,late"),
        outcome("events,0,1,applied"),  # again, after a recovery
        dead_letter(b"events", 0, 3),
        dead_letter(b"events", 0, 3),
    )
    assert tally.counts() == {"applied": 1, "late": 1, "dead_lettered": 1}


def test_negative_control_another_offset_partition_or_topic_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally = watched(
        monkeypatch,
        *map(outcome, ["events,0,1,applied", "events,0,2,applied", "events,1,1,applied"]),
        outcome("control,0,1,control"),
        dead_letter(b"events", 0, 3),
        dead_letter(b"control", 0, 3),
    )
    assert tally.counts() == {"applied": 3, "control": 1, "dead_lettered": 2}


def test_lists_are_kept_in_order_and_tombstones_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = watched(
        monkeypatch,
        listed("ann", "a", "b"),
        listed("bob", "c"),
        listed("ann", "d"),
        Message(SETTINGS.kafka.recommendations_topic, None, key_bytes=b"bob"),
    )
    shown = [[item for item, *_ in one.items] for one in tally.lists["ann"]]
    assert shown == [["a", "b"], ["d"]]
    assert (tally.list_count, tally.tombstones) == (3, {"bob"})
    assert not math.isnan(tally.first_list)


def test_only_lists_of_events_tell_of_freshness(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = watched(monkeypatch, listed("ann", "a"), listed("ann", "b", cause="rerank"))
    [(read_ms, fresh_ms)] = tally.freshness_ms
    assert read_ms - fresh_ms == record("ann", 1)["event_time"]


def test_the_end_of_a_partition_is_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = watched(monkeypatch, Message("audit", None, failed=True))
    assert tally.counts() == {}
    assert math.isnan(tally.first_list)


def test_recent_freshness_is_of_the_last_ten_seconds() -> None:
    tally = Tally()
    tally.freshness_ms.extend([(1_000, 900), (95_000, 10), (99_000, 30)])
    assert tally.recent_freshness_ms(100_000) == pytest.approx((20, 29.8))
    assert all(map(math.isnan, tally.recent_freshness_ms(200_000)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5], (5, 5)), ([1, 2, 3], (2, 2.98)), (range(101), (50, 99)), (range(100, -1, -1), (50, 99))],
)
def test_percentiles(values: list[float], expected: tuple[float, float]) -> None:
    assert percentiles(values) == pytest.approx(expected)


def test_percentiles_of_nothing_are_not_numbers() -> None:
    assert all(map(math.isnan, percentiles([])))


def event(offset: int, item: str, at_ms: int, kind: str = "click", user: str = "ann") -> Message:
    made = {
        "event_id": f"e{offset}",
        "user_id": user,
        "item_id": item,
        "event_type": kind,
        "event_time": at_ms,
    }
    value = codec.encode("user_event", made)
    return Message(SETTINGS.kafka.events_topic, value, (0, offset), timestamp_ms=at_ms)


def published(at_ms: int, *items: str) -> Published:
    return Published(at_ms, tuple((item, 1.0, "cooccurrence") for item in items))


def rates(monkeypatch: pytest.MonkeyPatch, *events: Message, skip: int = -1) -> tuple[float, float]:
    """Hit rates of these events, all applied but the one at ``skip``; popular is "pop"."""
    monkeypatch.setattr(kafka, "read_to_end", lambda settings, topic: iter(events))
    tally = Tally(lists={"ann": [published(100, "a", "b"), published(200, "c", "pop")]})
    for one in events:
        late = one.offset() == skip
        tally.outcomes["events", 0, one.offset()] = "late" if late else "applied"
    return hit_rates(SETTINGS, tally, {"pop"})


def test_a_hit_is_an_item_of_the_list_published_before(monkeypatch: pytest.MonkeyPatch) -> None:
    events = (
        event(0, "a", 50),  # no list yet: not counted
        event(1, "b", 150),  # on the first list
        event(2, "c", 150),  # only on the second, which came later: a miss
        event(3, "c", 250),  # on the second
        event(4, "a", 250),  # only on the first, which is outdated: a miss
        event(5, "pop", 250),  # on the list, and popular
        event(6, "pop", 150),  # popular, not on the list
        event(7, "c", 250, kind="impression"),  # shown, not chosen: not counted
        event(8, "c", 250, user="bob"),  # never had a list: not counted
    )
    assert rates(monkeypatch, *events) == (3 / 6, 2 / 6)
    assert rates(monkeypatch, *events, skip=3) == (2 / 5, 2 / 5)  # only applied events count


def test_the_list_that_the_event_itself_caused_is_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(monkeypatch, event(0, "c", 200)) == (0.0, 0.0)  # published at 200, not before


def test_nothing_to_count_is_not_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(map(math.isnan, rates(monkeypatch)))
    bad = Message(SETTINGS.kafka.events_topic, b"no avro", (0, 0), timestamp_ms=500)
    assert all(map(math.isnan, rates(monkeypatch, bad)))
