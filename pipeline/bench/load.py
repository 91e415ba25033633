"""The load of the benchmarks: a synthetic shop's events, without impressions.

So each event asks for a list. The engine is co-occurrence over the shop's 2,000 items.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from engines.registry import Registry
from pipeline.bench.measure import now_ms
from pipeline.config import Settings
from pipeline.delivery import Progress, Standing
from pipeline.sender import Sender, pace
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import INTERVAL_MS, START_MS, Shop, SyntheticSource, zipf
from pipeline.train import train_on

if TYPE_CHECKING:
    from confluent_kafka import Producer

USERS = 20_000
SHOP = Shop(users=USERS, items_per_category=200)
TRAINING_EVENTS = 100_000


def train(settings: Settings) -> str:
    """Fit and activate the engine; its name@version."""
    past = SyntheticSource(shop=SHOP, count=TRAINING_EVENTS)
    made = train_on(settings, "cooccurrence", past, "synthetic", "bench")
    Registry(settings.engine.store).activate("bench")
    return str(made["engine"])


def shop_events(count: int, skew: float = 0.0, users: int = USERS) -> Iterator[UserEvent]:
    """Events that ask for a list, their users drawn anew: the shop's own are as active as in life.

    Args:
        count: number of events.
        skew: exponent of Zipf's law by which users act; 0: all alike.
        users: how many there are.
    """
    chance = random.Random("bench")  # noqa: S311 - a seeded load, not a secret
    activity = zipf(users, skew)
    log = SHOP.events(2 * count + 1000, START_MS, INTERVAL_MS)
    asking = (event for event in log if event.event_type != "impression")
    for event in islice(asking, count):
        [user] = chance.choices(range(users), cum_weights=activity)
        yield replace(event, user_id=f"user-{user:05d}")


def stamped(events: Iterable[UserEvent], begin_ms: int, every_ms: float) -> Iterator[UserEvent]:
    """The events at even times, the first at ``begin_ms``."""
    for at, event in enumerate(events):
        yield replace(event, event_time=begin_ms + round(at * every_ms))


def send(settings: Settings, events: Iterable[UserEvent], producer: Producer | None = None) -> None:
    """Send them as fast as Kafka takes them; ``producer`` as in `play`."""
    new_sender(settings, producer).send_all(events, pace(None, None))


def play(
    settings: Settings, events: Sequence[UserEvent], rate: float, producer: Producer | None = None
) -> int:
    """Send them at ``rate`` events a second, each stamped with the time when it is due.

    Args:
        producer: one that has sent before, and needs no half second to begin; None: a new one.

    Returns:
        when the first was due, ms since 1970.
    """
    sender = new_sender(settings, producer)
    begin_ms = now_ms()
    sender.send_all(stamped(events, begin_ms, 1000 / rate), pace(rate, None))
    return begin_ms


def new_sender(settings: Settings, producer: Producer | None = None) -> Sender:
    progress = Progress.of(settings.run_dir / "produce", {"log": "bench"})
    return Sender(settings, Standing(), progress, lambda delivered: None, producer=producer)
