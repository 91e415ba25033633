"""What came out, counted from the topics.

A consumer thread reads lists, outcomes and dead letters as they appear. Counters inside a Flink job
double when it recovers; offsets do not, so every count here is a number of distinct offsets.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import framing, kafka
from pipeline.config import Settings
from schemas.errors import CodecError

RECENT_S = 10
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Published:
    """A list as it was read from the topic."""

    generated_at: int
    items: tuple[tuple[str, float, str], ...]


@dataclass(slots=True)
class Tally:
    """Everything seen so far; written by the watching thread, read by the screen.

    Attributes:
        outcomes: (input topic, partition, offset) → outcome.
        dead: reason of each dead letter, by the same key.
        lists: lists of each user, oldest first.
        freshness_ms: (when read, time from event to list) of each list, ms since 1970 and ms.
        list_count: lists of all users.
        first_list: when the first one was read, by ``time.monotonic``.
        tombstones: users whose tombstone was read.
    """

    outcomes: dict[tuple[str, int, int], str] = field(default_factory=dict)
    dead: dict[tuple[str, int, int], str] = field(default_factory=dict)
    lists: dict[str, list[Published]] = field(default_factory=dict)
    freshness_ms: deque[tuple[int, int]] = field(default_factory=deque)
    list_count: int = 0
    first_list: float = math.nan
    tombstones: set[str] = field(default_factory=set)

    def counts(self) -> Counter[str]:
        """How many offsets had each outcome; dead letters among them."""
        return Counter(list(self.outcomes.values())) + Counter({"dead_lettered": len(self.dead)})

    def recent_freshness_ms(self, now_ms: int) -> tuple[float, float]:
        """Median and 99th percentile over the last ten seconds, NaN if there was nothing."""
        return percentiles(
            [ms for at, ms in list(self.freshness_ms) if at > now_ms - RECENT_S * 1000]
        )


def percentiles(values_ms: Collection[float]) -> tuple[float, float]:
    """Median and 99th percentile, NaN if there are no values."""
    if not values_ms:
        return float("nan"), float("nan")
    middle, high = np.percentile(np.fromiter(values_ms, float), (50, 99))
    return float(middle), float(high)


class Watch(threading.Thread):
    """Reads recommendations, audit and dead letters from the beginning until ``close``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="watch", daemon=True)
        self.tally = Tally()
        self._settings = settings
        self._lists = framing.decoder(settings, "recommendation_list")
        self._closing = threading.Event()
        topics = settings.kafka
        self._take = {
            topics.recommendations_topic: self._take_list,
            topics.audit_topic: self._take_outcome,
            topics.dead_letters_topic: self._take_dead_letter,
        }

    def run(self) -> None:
        consumer = kafka.reader(self._settings, list(self._take))
        while not self._closing.is_set():
            # One by one: consume() would wait for a full batch and let the lists look older.
            message = consumer.poll(POLL_S)
            if message is not None and not message.error():
                self._take[message.topic()](message)
        consumer.close()

    def close(self) -> None:
        self._closing.set()
        self.join()

    def _take_list(self, message: Any) -> None:
        now_ms = time.time_ns() // 1_000_000
        user = message.key().decode()
        if message.value() is None:
            self.tally.tombstones.add(user)
            return
        record = self._lists.decode(message.value(), canonical=False)
        items = tuple((item["item_id"], item["score"], item["reason"]) for item in record["items"])
        if not self.tally.list_count:
            self.tally.first_list = time.monotonic()
        self.tally.list_count += 1
        self.tally.lists.setdefault(user, []).append(Published(record["generated_at"], items))
        if record["cause"] == "event":
            self.tally.freshness_ms.append((now_ms, now_ms - record["event_time"]))

    def _take_outcome(self, message: Any) -> None:
        cause, partition, offset, outcome = message.value().decode().split(",")
        self.tally.outcomes[cause, int(partition), int(offset)] = outcome

    def _take_dead_letter(self, message: Any) -> None:
        headers = {name: value.decode() for name, value in message.headers()}
        place = headers["dlq.stage"], int(headers["dlq.partition"]), int(headers["dlq.offset"])
        self.tally.dead[place] = headers["dlq.reason"]


def hit_rates(settings: Settings, tally: Tally, popular: Collection[str]) -> tuple[float, float]:
    """How often the next item was on the list published before it.

    Counts each applied event other than an impression whose user had a list already.

    Args:
        settings: names of the topics.
        tally: of a watch that has seen everything.
        popular: the popularity list to compare with.

    Returns:
        hit rate at k of the user's last list, and of ``popular``; NaN if nothing was counted.
    """
    decoder = framing.decoder(settings, "user_event")
    hits = popular_hits = events = 0
    for message in kafka.read_to_end(settings, settings.kafka.events_topic):
        place = "events", message.partition(), message.offset()
        if tally.outcomes.get(place) != "applied":
            continue
        try:
            event = decoder.decode(message.value())
        except CodecError:
            continue
        published = tally.lists.get(event["user_id"], [])
        before = bisect_left(published, message.timestamp()[1], key=lambda one: one.generated_at)
        if before and event["event_type"] != "impression":
            events += 1
            hits += any(event["item_id"] == item for item, *_ in published[before - 1].items)
            popular_hits += event["item_id"] in popular
    if not events:
        return float("nan"), float("nan")
    return hits / events, popular_hits / events
