"""Time is advanced by hand: waiting for Kafka moves the clock, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from pipeline.config import load_settings
from pipeline.delivery import Progress, Standing
from pipeline.sender import RESERVE, UNSURE_MS, Sender, pace
from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import KafkaError

NEW = Standing()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


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
        assert timeout == 0 or timeout >= 0.001, "a sender that asks for less spins"
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


def sender_to(kafka: Kafka, clock: Clock, progress: Progress, start: Standing = NEW) -> Sender:
    return Sender(
        load_settings(environ={}),
        start,
        progress,
        lambda done: None,
        producer=kafka,
        clock=clock,
        sleep=clock.sleep,
        wall_ms=lambda: round(clock.now * 1000),
    )


def standing(progress: Progress) -> Standing:
    kept = progress.read()
    assert kept is not None
    return kept


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
    assert (standing(progress).delivered, standing(progress).finished) == (10, True)


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
    sender = sender_to(kafka, clock, progress, Standing(100))
    with pytest.raises(KafkaError, match="did not take every event") as error:
        sender.send_all(events(1000), pace(20, None))
    assert "1 times: Local: Message timed out" in error.value.received
    kept = standing(progress)
    assert 120 <= kept.delivered <= 125
    assert not kept.finished
    assert len(kafka.taken) < 30


def test_a_refusal_in_the_last_moment_is_no_success(clock: Clock, progress: Progress) -> None:
    with pytest.raises(KafkaError):
        sender_to(Kafka(clock, refuse=9), clock, progress).send_all(events(10), pace(None, None))
    kept = standing(progress)
    assert kept.delivered <= 9
    assert not kept.finished


def test_progress_is_kept_when_the_run_is_broken_off(clock: Clock, progress: Progress) -> None:
    def broken_off() -> Iterator[UserEvent]:
        yield from events(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sender_to(Kafka(clock), clock, progress).send_all(broken_off(), pace(10, None))
    kept = standing(progress)
    assert 28 <= kept.delivered <= 30
    assert not kept.finished


def test_events_that_are_there_are_not_sent_but_delivered_and_do_not_wait(
    clock: Clock, progress: Progress
) -> None:
    kafka = Kafka(clock)
    sender = sender_to(kafka, clock, progress, Standing(100, reach=104))
    assert sender.send_all(events(6), pace(4, None), {"e0", "e1", "e3"}) == 3
    sent = [codec.decode("user_event", value)["event_id"] for _, _, value in kafka.taken]
    assert sent == ["e2", "e4", "e5"]
    assert times(kafka) == [0, 0.25, 0.5]
    assert (standing(progress).delivered, standing(progress).finished) == (106, True)


def test_no_event_is_sent_beyond_the_reach_that_is_written_down(
    clock: Clock, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sender.RESERVE", 7)
    kafka = Kafka(clock)
    written: list[bool] = []

    def watched() -> Iterator[UserEvent]:
        for number, event in enumerate(events(50)):
            written.append(not number or standing(progress).reach >= number)
            yield event

    sender_to(kafka, clock, progress).send_all(watched(), pace(None, None))
    assert written == [True] * 50


def test_how_old_the_unsure_records_may_be(clock: Clock, progress: Progress) -> None:
    began_ms = round(clock.now * 1000)
    kept: list[Standing] = []

    def watched(count: int) -> Iterator[UserEvent]:
        for event in events(count):
            yield event
            kept.append(standing(progress))

    start = Standing(since_ms=began_ms)
    sender_to(Kafka(clock), clock, progress, start).send_all(watched(100), pace(1, None))
    assert kept[50].since_ms == began_ms  # never before the start
    now_ms = round(clock.now * 1000)
    assert began_ms < kept[-1].since_ms <= now_ms - UNSURE_MS
    assert kept[-1].reach >= 99 + RESERVE - 2

    # While the earlier run's reach is not delivered, its records count, however old they are.
    kept.clear()
    start = Standing(10, reach=30, since_ms=5)
    sender_to(Kafka(clock), clock, progress, start).send_all(watched(40), pace(1, None))
    assert all(one.since_ms == 5 for one in kept if one.delivered < 30)
    assert kept[0].reach >= 30
    assert kept[-1].since_ms > now_ms - UNSURE_MS


def test_killed_again_and_again_every_event_is_there_once(clock: Clock, progress: Progress) -> None:
    topic: list[str] = []
    for killed_at in (25, 3, 1, 30, 1000):
        topic += sent_until_killed(clock, progress, set(topic), killed_at)
    assert sorted(topic) == sorted(f"e{n}" for n in range(100))


def sent_until_killed(
    clock: Clock, progress: Progress, present: set[str], killed_at: int
) -> list[str]:
    """Ids sent by one run that is killed before it sends so many; only the topic knows the last."""
    kafka = Kafka(clock)
    start = progress.read() or NEW
    kept = b""

    def until_killed() -> Iterator[UserEvent]:
        nonlocal kept
        for event in islice(events(100), start.delivered, None):
            if len(kafka.taken) + len(kafka.queue) == killed_at:
                kept = progress.file.read_bytes()
                raise KeyboardInterrupt
            yield event

    with suppress(KeyboardInterrupt):
        sender_to(kafka, clock, progress, start).send_all(until_killed(), pace(20, None), present)
    kafka.flush()
    if kept:
        progress.file.write_bytes(kept)  # A kill leaves no time to write.
    return [codec.decode("user_event", value)["event_id"] for _, _, value in kafka.taken]


def test_a_wait_too_short_for_a_poll_is_slept(clock: Clock, progress: Progress) -> None:
    kafka = Kafka(clock)
    sender_to(kafka, clock, progress).send_all(events(50), pace(10_000, None))
    sent_at = [round((at - kafka.taken[0][0]) * 10_000) for at, *_ in kafka.taken]
    assert sent_at == list(range(50))
