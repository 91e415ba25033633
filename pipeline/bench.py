"""Throughput and freshness of the whole path on this machine: Kafka, job, engine, Kafka.

Broker, load and job share the machine. The engine is co-occurrence over the 2,000 items of a
synthetic shop; the events are the shop's, without impressions, so that each asks for a list.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings
from pipeline.delivery import Progress, Standing
from pipeline.measure import Reader, machine, now_ms, peak_memory
from pipeline.scratch import running_broker, running_job, scratch_settings, started_job
from pipeline.sender import Sender, pace
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import INTERVAL_MS, START_MS, Shop, SyntheticSource, zipf
from pipeline.train import train_on
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

USERS = 20_000
SHOP = Shop(users=USERS, items_per_category=200)
TRAINING_EVENTS = 100_000
WARM_UP_SHARE = 0.25
EVENT_SPACING_MS = 1


def throughput(
    settings: Settings, events: int, console: Console, *, skew: float = 0.0
) -> dict[str, Any]:
    """How many lists a second the job makes of events that lie ready in Kafka.

    Only the middle counts, neither start-up nor tail: the lists from the 10th to the 90th
    percentile of the record timestamps, which the sink gives them, by the time between the two.

    Args:
        settings: job settings; ports, folders and ``job.emit`` (every) are the benchmark's own.
        events: number of events.
        console: for progress.
        skew: exponent of Zipf's law by which users act; 0: all alike.

    Returns:
        ``lists_per_s``; ``first_list_s`` from the start of ``headrace run`` to the first list;
        ``start_s`` and ``restarts`` as it tells them; ``peak_rss_mb``; and the circumstances.

    Raises:
        HeadraceError: a part did not start or failed, or lists are missing.
    """
    settings = scratch_settings(settings, "bench", {"job.emit": "every"})
    with running_broker(settings, console):
        engine = train(settings)
        console.print(f"sending {events} events")
        begin_ms = now_ms() - events * EVENT_SPACING_MS
        send(settings, stamped(shop_events(events, skew), begin_ms, EVENT_SPACING_MS))
        started_ms = now_ms()
        console.print("running the job to their end")
        with started_job(settings, "--bounded") as job, peak_memory(job.pid) as peak_rss_mb:
            job.wait()
        ended = job_result(settings)
        made_ms = list_times_ms(settings)
    if len(made_ms) != events:
        raise FlinkError(
            "not one list for each event", expected=str(events), received=str(len(made_ms))
        )
    return {
        "lists_per_s": round(middle_rate(made_ms)),
        "first_list_s": round((made_ms[0] - started_ms) / 1000, 1),
        **{name: ended[name] for name in ("start_s", "restarts")},
        "peak_rss_mb": peak_rss_mb,
        "load": {"events": events, "users": USERS, "skew": skew},
        **circumstances(settings, engine),
    }


def freshness(settings: Settings, rate: float, seconds: float, console: Console) -> dict[str, Any]:
    """How long after an event is due a consumer has its list.

    Open loop: event n is due n / rate seconds after the first, however late the ones before it
    were, and bears that time, so waiting counts wherever it happens. Lists are decoded after the
    run. The load begins when one event has had its list; the lists of its first quarter are left
    out as warm-up. Under ``emit = "latest"`` an event outdated within its bundle has no list.

    Args:
        settings: job settings; ports and folders are the benchmark's own.
        rate: events per second.
        seconds: length of the load.
        console: for progress.

    Returns:
        ``freshness_ms``: p50, p90, p99, max; ``lists`` that these are of; and the circumstances.

    Raises:
        HeadraceError: a part did not start or failed.
    """
    settings = scratch_settings(settings, "bench", {})
    with running_broker(settings, console):
        engine = train(settings)
        first, *events = shop_events(1 + round(rate * seconds))
        with running_job(settings, console), Reader(settings) as reader:
            send(settings, stamped([first], now_ms(), 0))
            reader.wait_for_first()
            console.print(f"sending {rate:g} events/s for {seconds:g} s")
            start_ms = now_ms()
            send(settings, stamped(events, start_ms, 1000 / rate), rate)
            reader.wait_for_silence()
    delays_ms = reader.delays_ms(since_ms=start_ms + seconds * 1000 * WARM_UP_SHARE)
    return {
        "freshness_ms": percentiles(delays_ms),
        "lists": len(delays_ms),
        "load": {"events": len(events), "users": USERS, "rate": rate, "seconds": seconds},
        **circumstances(settings, engine),
    }


def train(settings: Settings) -> str:
    """Fit and activate the engine; its name@version."""
    past = SyntheticSource(shop=SHOP, count=TRAINING_EVENTS)
    made = train_on(settings, "cooccurrence", past, "synthetic", "bench")
    Registry(settings.engine.store).activate("bench")
    return str(made["engine"])


def shop_events(count: int, skew: float = 0.0) -> Iterator[UserEvent]:
    """Events that ask for a list, their users drawn anew: the shop's own are as active as in life.

    Args:
        count: number of events.
        skew: exponent of Zipf's law by which users act; 0: all alike.
    """
    chance = random.Random("bench")  # noqa: S311 - a seeded load, not a secret
    activity = zipf(USERS, skew)
    log = SHOP.events(2 * count + 1000, START_MS, INTERVAL_MS)
    asking = (event for event in log if event.event_type != "impression")
    for event in islice(asking, count):
        [user] = chance.choices(range(USERS), cum_weights=activity)
        yield replace(event, user_id=f"user-{user:05d}")


def stamped(events: Iterable[UserEvent], begin_ms: int, every_ms: float) -> Iterator[UserEvent]:
    """The events at even times, the first at ``begin_ms``."""
    for at, event in enumerate(events):
        yield replace(event, event_time=begin_ms + round(at * every_ms))


def send(settings: Settings, events: Iterable[UserEvent], rate: float | None = None) -> None:
    progress = Progress.of(settings.run_dir / "produce", {"log": "bench"})
    sender = Sender(settings, Standing(), progress, lambda delivered: None)
    sender.send_all(events, pace(rate, None))


def job_result(settings: Settings) -> dict[str, Any]:
    """The last line of ``headrace run --json``; FlinkError if it is no result."""
    log = (settings.run_dir / "job.log").read_text(errors="replace")
    last = log.splitlines()[-1]
    if not last.startswith('{"job_id"'):
        raise FlinkError("the job failed", received=log[-1000:], fix="see the message above")
    ended: dict[str, Any] = json.loads(last)
    return ended


def list_times_ms(settings: Settings) -> list[int]:
    """Record timestamps of all lists, oldest first."""
    topic = settings.kafka.recommendations_topic
    return sorted(message.timestamp()[1] for message in kafka.read_to_end(settings, topic))


def middle_rate(times_ms: list[int]) -> float:
    """Events a second between the 10th and the 90th percentile of sorted times.

    >>> middle_rate([0, *range(1000, 1010), 5000])
    1000.0
    """
    first, last = len(times_ms) // 10, len(times_ms) * 9 // 10
    return (last - first) * 1000 / max(times_ms[last] - times_ms[first], 1)


def percentiles(delays_ms: list[int]) -> dict[str, int]:
    """p50, p90, p99 and max, in whole ms."""
    values = np.percentile(delays_ms, (50, 90, 99, 100)).round().astype(int).tolist()
    return dict(zip(("p50", "p90", "p99", "max"), values, strict=True))


def circumstances(settings: Settings, engine: str) -> dict[str, Any]:
    return {"machine": machine(), "engine": engine, "job": settings.job.model_dump()}
