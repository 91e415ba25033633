"""Time is advanced by hand: waiting for Kafka moves the clock, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import load_settings
from pipeline.delivery import Progress
from pipeline.sender import Sender, pace
from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import KafkaError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Refused:
    def str(self) -> str:
        return "Local: Message timed out"


class Kafka:
    """A producer with room for ``room`` records; it takes them when it is polled with patience."""

    def __init__(self, clock: Clock, room: int = 1000, refuse: int = -1) -> None:
        self.taken: list[tuple[float, bytes, bytes]] = []
        self.queue: list[tuple[float, bytes, bytes, Callable[..., None]]] = []
        self._clock, self._room, self._refuse = clock, room, refuse

    def produce(
        self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[..., None]
    ) -> None:
        if len(self.queue) == self._room:
            raise BufferError
        self.queue.append((self._clock.now, key, value, on_delivery))

    def poll(self, timeout: float) -> int:
        self._clock.now += timeout
        return self.flush() if timeout else 0

    def flush(self) -> int:
        for at, key, value, on_delivery in self.queue:
            refused = len(self.taken) == self._refuse
            self.taken.append((at, key, value))
            on_delivery(Refused() if refused else None, None)
        self.queue.clear()
        return 0


def events(count: int) -> Iterator[UserEvent]:
    for n in range(count):
        yield UserEvent(f"e{n}", f"user-{n % 3}", "item", "view", 1_600_000_000_000 + 500 * n)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress.of(tmp_path, {})


def sender_to(kafka: Kafka, clock: Clock, progress: Progress, begin: int = 0) -> Sender:
    settings = load_settings(environ={})
    return Sender(settings, begin, progress, lambda done: None, producer=kafka, clock=clock)


def times(kafka: Kafka) -> list[float]:
    return [round(at - 1000, 6) for at, _, _ in kafka.taken]


def test_every_event_is_sent_once_in_order_keyed_by_its_user(
    clock: Clock, progress: Progress
) -> None:
    kafka = Kafka(clock, room=2)
    sender_to(kafka, clock, progress).send_all(events(10), pace(None, None))
    decoded = [codec.decode("user_event", value) for _, _, value in kafka.taken]
    assert [event["event_id"] for event in decoded] == [f"e{n}" for n in range(10)]
    assert [key.decode() for _, key, _ in kafka.taken] == [e["user_id"] for e in decoded]
    assert progress.read() == (10, True)


def test_a_rate_is_kept_in_an_open_loop(clock: Clock, progress: Progress) -> None:
    kafka = Kafka(clock)
    sender_to(kafka, clock, progress).send_all(events(5), pace(4, None))
    assert times(kafka) == [0, 0.25, 0.5, 0.75, 1]


def test_a_stall_is_caught_up_with(clock: Clock, progress: Progress) -> None:
    def stalling() -> Iterator[UserEvent]:
        for n, event in enumerate(events(5)):
            clock.now += 0.6 if n == 1 else 0
            yield event

    kafka = Kafka(clock)
    sender_to(kafka, clock, progress).send_all(stalling(), pace(4, None))
    assert times(kafka) == [0, 0.6, 0.6, 0.75, 1]


def test_speedup_is_of_event_time(clock: Clock, progress: Progress) -> None:
    kafka = Kafka(clock)
    sender_to(kafka, clock, progress).send_all(events(4), pace(None, 2))
    assert times(kafka) == [0, 0.25, 0.5, 0.75]


def test_a_refused_event_stops_the_run_and_progress_stays_before_it(
    clock: Clock, progress: Progress
) -> None:
    kafka = Kafka(clock, refuse=25)
    sender = sender_to(kafka, clock, progress, begin=100)
    with pytest.raises(KafkaError, match="did not take every event") as error:
        sender.send_all(events(1000), pace(20, None))
    assert "1 times: Local: Message timed out" in error.value.received
    delivered, finished = progress.read()
    assert 120 <= delivered <= 125
    assert not finished
    assert len(kafka.taken) < 30


def test_a_refusal_in_the_last_moment_is_no_success(clock: Clock, progress: Progress) -> None:
    with pytest.raises(KafkaError):
        sender_to(Kafka(clock, refuse=9), clock, progress).send_all(events(10), pace(None, None))
    delivered, finished = progress.read()
    assert delivered <= 9
    assert not finished


def test_progress_is_kept_when_the_run_is_broken_off(clock: Clock, progress: Progress) -> None:
    def broken_off() -> Iterator[UserEvent]:
        yield from events(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sender_to(Kafka(clock), clock, progress).send_all(broken_off(), pace(10, None))
    delivered, finished = progress.read()
    assert 28 <= delivered <= 30
    assert not finished
