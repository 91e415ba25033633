"""The demo from start to end: broker, engine, job, play, result; nothing stays behind."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import broker
from engines.bundle import Bundle
from engines.models import cooccurrence
from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings, as_environment, load_settings
from pipeline.demo.play import (
    FORGOTTEN_USERS,
    Record,
    busiest_users,
    forget_orders,
    play,
    split,
)
from pipeline.demo.screen import Stage, line, screen
from pipeline.demo.watch import Tally, Watch, hit_rates, percentiles
from pipeline.ports import free_ports
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import Shop
from schemas.errors import FlinkError, HeadraceError, KafkaError

if TYPE_CHECKING:
    from rich.console import Console

TRAINING_EVENTS = 40_000
TRAINING_INTERVAL_MS = 5_000
DRAIN_S = 30
START_S = 90
LINE_EVERY_S = 5


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
    freshness_ms: dict[str, float]
    first_list_s: float
    hit_rate_at_10: float
    popularity_hit_rate_at_10: float


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
    settings = demo_settings(settings)
    shutil.rmtree(settings.run_dir, ignore_errors=True)
    shop = Shop()
    count = TRAINING_EVENTS + math.ceil(seconds * rate)
    past_ms = time.time_ns() // 1_000_000 - TRAINING_EVENTS * TRAINING_INTERVAL_MS
    training, rest = split(shop.events(count, past_ms, TRAINING_INTERVAL_MS), TRAINING_EVENTS)
    with running_broker(settings, console), ThreadPoolExecutor(1) as side:
        bundle = train(settings, shop, training, console)
        with running_job(settings, console) as job:
            watch = Watch(settings)
            watch.start()
            side.submit(lambda: None)
            stage = Stage(
                titles={item.item_id: item.title or item.item_id for item in shop.catalogue},
                spotlight=busiest_users(rest, 1)[0],
                seconds=seconds,
            )
            perform(settings, stage, rest, rate, shop.seed, watch.tally, console, job)
            drain(settings, watch.tally, job)
            watch.close()
        return result(settings, watch.tally, bundle, began)
