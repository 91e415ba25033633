"""The load of the benchmarks: a synthetic shop's events, without impressions.

So each event asks for a list. The engine is co-occurrence over the shop's 2,000 items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engines.registry import Registry
from pipeline import framing, kafka
from pipeline.bench.measure import now_ms
from pipeline.config import Settings
from pipeline.console import bar, shown
from pipeline.delivery import Progress, Standing
from pipeline.sender import Sender, pace
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import TYPES, Shop, SyntheticSource
from pipeline.train import train_on
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError as Refusal
    from confluent_kafka import Producer
    from rich.console import Console

USERS = 20_000
SHOP = Shop(users=USERS, items_per_category=200)
TRAINING_EVENTS = 100_000
AT_ONCE = 1e6
"""A rate, in events per second, that is faster than Kafka takes them."""
LOOK_EVERY_S = 0.001
"""For events that are due."""


def train(settings: Settings) -> str:
    """Fit and activate the engine; its name@version."""
    past = SyntheticSource(shop=SHOP, count=TRAINING_EVENTS)
    made = train_on(settings, "cooccurrence", past, "synthetic", "bench")
    Registry(settings.engine.store).activate("bench")
    return str(made["engine"])


def shop_events(
    count: int,
    begin_ms: int,
    every_ms: float,
    *,
    skew: float = 0.0,
    users: int = USERS,
    number: int = 1,
) -> Iterator[UserEvent]:
    """Events that ask for a list, evenly spaced in time.

    Args:
        count: number of events.
        begin_ms: time of the first one, ms since 1970.
        every_ms: time between two.
        skew: exponent of Zipf's law by which users act; 0: all alike.
        users: how many there are.
        number: of the log; each number has its own, with ids of its own.
    """
    asking = tuple((name, weight) for name, weight in TYPES if name != "impression")
    shop = replace(SHOP, seed=SHOP.seed + number, users=users, activity=skew, types=asking)
    return shop.events(count, begin_ms, every_ms)


def send(settings: Settings, events: Iterable[UserEvent]) -> None:
    """Send them as fast as Kafka takes them."""
    progress = Progress.of(settings.run_dir / "produce", {"log": "bench"})
    Sender(settings, Standing(), progress, lambda delivered: None).send_all(
        events, pace(None, None)
    )


class Play:
    """Events that are ready to be sent at a steady rate, as Kafka records.

    Whatever costs the processor is over before the first is due: the job has the machine.

    Args:
        settings: where the topic is.
        events: of which the n-th is due n / ``rate`` after ``begin_ms``, and bears that time.
        begin_ms: when the first would be due, ms since 1970.
        rate: events per second.

    Attributes:
        records: key and value of each.
    """

    def __init__(
        self, settings: Settings, events: Iterable[UserEvent], begin_ms: int, rate: float
    ) -> None:
        encode = framing.encoder(settings, "user_event").encode
        self.begin_ms = begin_ms
        self.rate = rate
        self._topic = settings.kafka.events_topic
        self.records = [(event.user_id.encode(), encode(event.as_record())) for event in events]

    @property
    def end_ms(self) -> float:
        """When the event after the last would be due."""
        return self.begin_ms + len(self.records) / self.rate * 1000

    def send(self, producer: Producer) -> int:
        """Send them, an event when it is due, however late the ones before it were.

        Args:
            producer: a `new_producer`; one that has sent before needs no half second to begin.

        Returns:
            how many ms after ``begin_ms`` it was when the first was due.

        Raises:
            KafkaError: Kafka did not take every event.
        """
        refused: list[Refusal] = []
        late_ms = now_ms() - self.begin_ms
        began, sent = time.monotonic(), 0
        while sent < len(self.records):
            due = 1 + int((time.monotonic() - began) * self.rate)
            for key, value in self.records[sent:due]:
                _produce(producer, self._topic, key, value, refused)
            sent = min(due, len(self.records))
            producer.poll(0)
            time.sleep(LOOK_EVERY_S)
        producer.flush()
        if refused:
            raise KafkaError(
                "Kafka did not take every event",
                expected=f"all {sent}",
                received=f"{len(refused)} refused, the first for {refused[0].str()}",
            )
        return late_ms


def plays_after_one_another(
    settings: Settings, parts: Sequence[tuple[int, float]], console: Console
) -> list[Play]:
    """Plays of so many events at such a rate, whose event times follow on one another from now."""
    total = sum(count for count, _ in parts)
    plays: list[Play] = []
    with bar(console, "making events", total) as advance:
        made = 0
        for number, (count, rate) in enumerate(parts, 1):
            begin_ms = math.ceil(plays[-1].end_ms) if plays else now_ms()
            events = shop_events(count, begin_ms, 1000 / rate, number=number)
            plays.append(Play(settings, shown(events, advance, made), begin_ms, rate))
            made += count
    return plays


def new_producer(settings: Settings) -> Producer:
    """One that reports what Kafka refuses, and nothing else: reports cost the job's processor."""
    from confluent_kafka import Producer

    return Producer(kafka.producer_config(settings.kafka) | {"delivery.report.only.error": True})


def _produce(
    producer: Producer, topic: str, key: bytes, value: bytes, refused: list[Refusal]
) -> None:
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=lambda why, _: refused.append(why))
            return
        except BufferError:  # The queue is full: wait for Kafka to take some.
            producer.poll(LOOK_EVERY_S)
