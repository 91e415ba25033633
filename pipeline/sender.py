"""Sends events at their pace and keeps account of what Kafka has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Protocol

from pipeline import framing, kafka
from pipeline.delivery import Ledger, Progress, Standing
from pipeline.sources.base import UserEvent
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from pipeline.config import Settings

SAVE_EVERY_S = 1.0
SHOW_EVERY_S = 0.1
POLL_LEAST_S = 0.001
"""librdkafka waits for whole milliseconds."""
RESERVE = 100_000
"""How many events may be sent after the progress file was written and before it is again."""
UNSURE_MS = 60_000
"""How much older a record may be than the progress file that does not count it as delivered: the
producer gives a record up after ``delivery.timeout.ms``, 30 s; as much again for the clocks."""

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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


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
        start: how far earlier runs came.
        progress: where to remember how far it came.
        advance: told the number of delivered events about ten times a second.
        producer: None: a real one.
        clock: seconds, for pace and intervals.
        sleep: for so many seconds.
        wall_ms: the time that Kafka stamps records with.
    """

    def __init__(
        self,
        settings: Settings,
        start: Standing,
        progress: Progress,
        advance: Callable[[int], None],
        *,
        producer: EventProducer | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.ledger = Ledger(start.delivered)
        self._start = start
        self._reach = start.reach
        self._topic = settings.kafka.events_topic
        self._encoder = framing.encoder(settings, "user_event")
        self._producer = producer or new_producer(settings)
        self._progress = progress
        self._advance = advance
        self._clock = clock
        self._sleep = sleep
        self._wall_ms = wall_ms
        self._show_at = self._save_at = clock()

    def send_all(
        self, events: Iterable[UserEvent], due_s: Pace, present: Container[str] = ()
    ) -> int:
        """Sends them all and waits until Kafka has them; returns how many it sent.

        However it ends, the progress file then holds what was delivered.

        Args:
            events: what follows the events delivered before.
            due_s: when each that is sent is due.
            present: ids of those that are in the topic already; they count as delivered.
        """
        encode = self._encoder.encode
        began = self._clock()
        number = 0
        finished = False
        try:
            for event in events:
                if event.event_id in present:
                    self.ledger.enter()(None, None)
                    continue
                self._wait_until(began + due_s(number, event))
                self._send(event.user_id.encode(), encode(event.as_record()))
                number += 1
            self._producer.flush()
            finished = not self.ledger.failures
        finally:
            self._producer.poll(0)
            self._show()
            self._save(finished=finished)
        self._stop_on_failure()
        return number

    def _send(self, key: bytes, value: bytes) -> None:
        if self.ledger.sent >= self._reach:
            self._save()
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
            if left < POLL_LEAST_S:  # poll() would return at once, again and again
                self._sleep(left)
            else:
                self._producer.poll(min(left, SHOW_EVERY_S))
            self._tick()

    def _tick(self) -> None:
        now = self._clock()
        if now < self._show_at:
            return
        self._show_at = now + SHOW_EVERY_S
        self._stop_on_failure()
        self._show()
        if now >= self._save_at:
            self._save()

    def _show(self) -> None:
        self.ledger.close_span()
        self._advance(self.ledger.delivered)

    def _save(self, *, finished: bool = False) -> None:
        """Writes down, ahead of what is sent next, how far this run came and how far it may go."""
        self._save_at = self._clock() + SAVE_EVERY_S
        self._reach = max(self._start.reach, self.ledger.sent + RESERVE)
        since_ms = self._start.since_ms
        # Up to there records of earlier runs may lie, which are older.
        if self.ledger.delivered >= self._start.reach:
            since_ms = max(since_ms, self._wall_ms() - UNSURE_MS)
        standing = Standing(self.ledger.delivered, self._reach, since_ms, finished)
        self._progress.write(standing)

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
        fix="see that the brokers run and let us write (deploy/acls.md), "
        "then run the same command: it goes on from there",
    )
