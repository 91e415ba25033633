"""Sends events at their pace and keeps account of what Kafka has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from pipeline import kafka
from pipeline.delivery import Ledger, Progress
from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from pipeline.config import Settings

SAVE_EVERY_S = 1.0
SHOW_EVERY_S = 0.1

Pace = Callable[[int, UserEvent], float]
"""When an event is due, in seconds after the first; given its number in this run, from 0."""


def pace(rate: float | None, speedup: float | None) -> Pace:
    """Open loop: an event is due when it is due, however late the ones before it were."""
    if rate:
        return lambda number, _: number / rate
    if speedup:
        first_ms: list[int] = []

        def due_s(_: int, event: UserEvent) -> float:
            if not first_ms:
                first_ms.append(event.event_time)
            return (event.event_time - first_ms[0]) / 1000 / speedup

        return due_s
    return lambda _, __: 0.0


class EventProducer(Protocol):
    """What `Sender` needs of a confluent_kafka.Producer."""

    def produce(
        self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[..., None]
    ) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self) -> int: ...


class Sender:
    """Sends events and keeps the ledger and its file.

    Args:
        settings: where the topic is.
        begin: events delivered before this run.
        progress: where to remember how far it came.
        advance: told the number of delivered events about ten times a second.
        producer: None: a real one.
        clock: seconds, for pace and intervals.
    """

    def __init__(
        self,
        settings: Settings,
        begin: int,
        progress: Progress,
        advance: Callable[[int], None],
        *,
        producer: EventProducer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = Ledger(begin)
        self._topic = settings.kafka.events_topic
        self._producer = producer or new_producer(settings)
        self._progress = progress
        self._advance = advance
        self._clock = clock
        self._show_at = self._save_at = clock()

    def send_all(self, events: Iterable[UserEvent], due_s: Pace) -> None:
        """Sends them all and waits until Kafka has them.

        However it ends, the progress file then holds what was delivered.
        """
        encode = codec.Encoder("user_event").encode
        began = self._clock()
        finished = False
        try:
            for number, event in enumerate(events):
                self._wait_until(began + due_s(number, event))
                self._send(event.user_id.encode(), encode(event.as_record()))
            self._producer.flush()
            finished = not self.ledger.failures
        finally:
            self.ledger.close_span()
            self._advance(self.ledger.delivered)
            self._progress.write(self.ledger.delivered, finished=finished)
        self._stop_on_failure()

    def _send(self, key: bytes, value: bytes) -> None:
        span = self.ledger.enter()
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=span)
                break
            except BufferError:  # The queue is full: wait for Kafka to take some.
                self._producer.poll(SHOW_EVERY_S)
                self._tick()
        self._producer.poll(0)
        self._tick()

    def _wait_until(self, due: float) -> None:
        while (left := due - self._clock()) > 0:
            self._producer.poll(min(left, SHOW_EVERY_S))
            self._tick()

    def _tick(self) -> None:
        now = self._clock()
        if now < self._show_at:
            return
        self._show_at = now + SHOW_EVERY_S
        self._stop_on_failure()
        self.ledger.close_span()
        self._advance(self.ledger.delivered)
        if now >= self._save_at:
            self._save_at = now + SAVE_EVERY_S
            self._progress.write(self.ledger.delivered)

    def _stop_on_failure(self) -> None:
        if self.ledger.failures:
            raise _not_taken(self._topic, self.ledger)


def new_producer(settings: Settings) -> Producer:
    from confluent_kafka import Producer

    return Producer(kafka.producer_config(settings.kafka))


def _not_taken(topic: str, ledger: Ledger) -> KafkaError:
    told = ", ".join(f"{count} times: {reason}" for reason, count in ledger.failures.items())
    return KafkaError(
        f"Kafka did not take every event for topic {topic}",
        expected=f"{ledger.sent} events confirmed",
        received=f"{ledger.delivered} confirmed without a gap; {told}",
        fix="see that the brokers run, then run the same command: it goes on from there",
    )
