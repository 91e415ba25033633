"""The demo from start to end: broker, engine, job, play, result; nothing stays behind."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.live import Live

from engines.bundle import Bundle
from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings
from pipeline.demo.play import busiest_user, farewell, play, quiet_users
from pipeline.demo.screen import Stage, line, screen
from pipeline.demo.watch import Tally, Watch, hit_rates, percentiles
from pipeline.scratch import check_job, running_broker, running_job, scratch_settings
from pipeline.sender import new_producer
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import INTERVAL_MS, START_MS, Shop, SyntheticSource
from pipeline.train import train_on
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

TRAINING_EVENTS = 40_000
PATIENCE_S = 30
POLL_S = 0.1
SCREEN_EVERY_S = 0.25
LINE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo measured; every count is of distinct offsets read back from the topics.

    Attributes:
        events_sent: records in the events topic, bad ones and doubled ones included.
        applied, duplicate, late, forgotten, dead_lettered: outcomes of those records.
        control: orders carried out; they come from the control topic.
        lists: lists published. With ``emit = "latest"`` fewer than events.
        users: users who have a list.
        freshness_ms: from an event's due time until its list was read from the topic.
        first_list_s: from the start of the command until the first list was read.
        hit_rate_at_10: share of events whose item was on the user's list published before.
        popularity_hit_rate_at_10: the same for the ten most popular items.

    A measure of nothing, such as freshness when no list came from an event, is None.
    """

    events_sent: int
    applied: int
    duplicate: int
    late: int
    forgotten: int
    dead_lettered: int
    control: int
    lists: int
    users: int
    freshness_ms: dict[str, float | None]
    first_list_s: float | None
    hit_rate_at_10: float | None
    popularity_hit_rate_at_10: float | None


def demo(settings: Settings, seconds: float, rate: float, console: Console) -> dict[str, Any]:
    """Play the synthetic shop through the whole pipeline.

    Args:
        settings: limits and job settings; ports, folders and topics are the demo's own.
        seconds: length of the play.
        rate: events per second.
        console: for progress.

    Returns:
        ``Result`` as a dict.

    Raises:
        HeadraceError: a part did not start, failed, or did not finish in time.
    """
    began = time.monotonic()
    settings = scratch_settings(settings, "demo", {"kafka.audit_topic": "audit"})
    shop = Shop()
    past = SyntheticSource(shop=shop, count=TRAINING_EVENTS)
    log = shop.events(TRAINING_EVENTS + math.ceil(seconds * rate), START_MS, INTERVAL_MS)
    rest = list(islice(log, TRAINING_EVENTS, None))
    with running_broker(settings, console):
        bundle = train(settings, past, console)
        with running_job(settings, console) as job, watching(settings) as watch:
            stage = Stage(
                titles={item.item_id: item.title or item.item_id for item in shop.catalogue},
                spotlight=busiest_user(rest),
                seconds=seconds,
                began=began,
            )
            warm_up(settings, stage, rest, watch.tally, job)
            with showing(stage, watch.tally, console) as refresh:
                perform(settings, stage, rest, rate, shop.seed, refresh)
                drain(settings, watch.tally, job, refresh)
        return asdict(result(settings, stage, watch.tally, bundle))


def train(settings: Settings, source: SyntheticSource, console: Console) -> Bundle:
    """Fit, store and activate the engine."""
    made = train_on(settings, "cooccurrence", source, "synthetic", "demo")
    registry = Registry(settings.engine.store)
    registry.activate("demo")
    console.print(f"engine {made['engine']}: {made['items']} items, {made['events']} events")
    return registry.open_active()[0]


@contextmanager
def watching(settings: Settings) -> Iterator[Watch]:
    watch = Watch(settings)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def showing(stage: Stage, tally: Tally, console: Console) -> Iterator[Callable[[], None]]:
    """A live screen on a terminal, a line every few seconds elsewhere."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield paced(lambda: live.update(screen(stage, tally), refresh=True), SCREEN_EVERY_S)
    else:
        yield paced(lambda: console.print(line(stage, tally)), LINE_EVERY_S)


def paced(show: Callable[[], None], every_s: float) -> Callable[[], None]:
    """``show``, but at most once in ``every_s``."""
    due = time.monotonic()

    def maybe_show() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + every_s
            show()

    return maybe_show


def warm_up(
    settings: Settings,
    stage: Stage,
    events: list[UserEvent],
    tally: Tally,
    job: subprocess.Popen[bytes],
) -> None:
    """Take one event out of the play, send it ahead and wait for its list.

    The job's Python process loads the engine with its first event, which takes a second or two.
    """
    first = next(event for event in events if event.event_type != "impression")
    events.remove(first)
    producer = new_producer(settings)
    for record in play([first], settings.kafka, time.time_ns() // 1_000_000, 1.0, 0):
        producer.produce(record.topic, record.value, record.key)
        stage.took(record.event)
    producer.flush()
    wait_until(lambda: tally.list_count > 0, "a first list", settings, job)


def perform(
    settings: Settings,
    stage: Stage,
    events: list[UserEvent],
    rate: float,
    seed: int,
    refresh: Callable[[], None],
) -> None:
    """Send every record at its due time (open loop), and orders to forget in the middle."""
    producer = new_producer(settings)
    start_ms = time.time_ns() // 1_000_000
    stage.play_started = started = time.monotonic()
    middle_s = stage.seconds / 2
    as_of_ms = start_ms + round(middle_s * 1000)
    goodbyes = [farewell(user, settings.kafka, as_of_ms, middle_s) for user in quiet_users(events)]
    records = play(events, settings.kafka, start_ms, rate, seed)
    for record in merge(records, *goodbyes, key=lambda one: one.due_s):
        while (left_s := started + record.due_s - time.monotonic()) > 0:
            # Slept, not polled: librdkafka waits for whole milliseconds, and would spin.
            time.sleep(min(left_s, SCREEN_EVERY_S))
            producer.poll(0)
            refresh()
        producer.produce(record.topic, record.value, record.key)
        stage.took(record.event)
    producer.flush()


def drain(
    settings: Settings,
    tally: Tally,
    job: subprocess.Popen[bytes],
    refresh: Callable[[], None],
) -> None:
    """Wait until every offset of the inputs has its outcome."""
    expected = sum(
        kafka.end_offset(settings.kafka, topic)
        for topic in (settings.kafka.events_topic, settings.kafka.control_topic)
    )

    def done() -> bool:
        refresh()
        return len(tally.outcomes) + len(tally.dead) >= expected

    wait_until(done, f"{expected} outcomes", settings, job)


def wait_until(
    done: Callable[[], bool], what: str, settings: Settings, job: subprocess.Popen[bytes]
) -> None:
    """Wait for the job to bring something about.

    Raises:
        FlinkError: the job ended, or it takes longer than ``PATIENCE_S``.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        check_job(settings, job)
        if time.monotonic() > deadline:
            raise FlinkError(
                "the job does not keep up",
                expected=f"{what} within {PATIENCE_S} s",
                received="none, or not all",
                fix=f"a lower --rate; see the logs in {settings.run_dir}",
            )
        time.sleep(POLL_S)


def result(settings: Settings, stage: Stage, tally: Tally, bundle: Bundle) -> Result:
    counts = tally.counts()
    p50, p99 = percentiles([ms for _, ms in tally.freshness_ms])
    hit_rate, popularity = hit_rates(settings, tally, most_popular(bundle, 10))
    return Result(
        events_sent=kafka.end_offset(settings.kafka, settings.kafka.events_topic),
        applied=counts["applied"],
        duplicate=counts["duplicate"],
        late=counts["late"],
        forgotten=counts["forgotten"],
        dead_lettered=counts["dead_lettered"],
        control=counts["control"],
        lists=tally.list_count,
        users=len(tally.lists),
        freshness_ms={"p50": rounded(p50), "p99": rounded(p99)},
        first_list_s=rounded(tally.first_list - stage.began, 1),
        hit_rate_at_10=rounded(hit_rate, 4),
        popularity_hit_rate_at_10=rounded(popularity, 4),
    )


def rounded(value: float, digits: int | None = None) -> float | None:
    """None for NaN, which JSON does not have.

    >>> rounded(0.12345, 2), rounded(12.3), rounded(math.nan)
    (0.12, 12, None)
    """
    return None if math.isnan(value) else round(value, digits)


def most_popular(bundle: Bundle, count: int) -> set[str]:
    """The items with the most events in the training log."""
    order = np.argsort(-bundle.catalogue.popularity, kind="stable")[:count]
    return set(bundle.catalogue.item_ids[order])
