"""Throughput and freshness of the whole path on this machine: Kafka, job, engine, Kafka.

Broker, load and job share the machine, as they did for every figure in the README. The engine is
co-occurrence over the 2,000 items of a synthetic shop; events are the shop's, impressions left
out, so that every event asks for a list, and spread evenly over 20,000 users.
"""

from __future__ import annotations

import json
import os
import platform
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings
from pipeline.delivery import Progress
from pipeline.scratch import (
    check_job,
    running_broker,
    running_job,
    scratch_settings,
    started_job,
)
from pipeline.sender import Pace, Sender, pace
from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import Shop, SyntheticSource
from pipeline.train import train_on
from schemas import codec
from schemas.errors import FlinkError, KafkaError

if TYPE_CHECKING:
    from rich.console import Console

USERS = 20_000
TRAINING_EVENTS = 100_000
SAMPLE_EVERY_S = 0.25
WARM_UP_SHARE = 0.25
DRAIN_S = 30.0


def throughput(settings: Settings, events: int, console: Console) -> dict[str, Any]:
    """How many lists a second the job makes of events that lie ready in Kafka.

    Only the middle counts: of all lists in the order of the record timestamps that the sink gave
    them, those from the 10th to the 90th percentile, by the time between these two. Start-up and
    tail are left out that way. Every event must have its list, or there is no result.

    Args:
        settings: job settings; ports, folders and ``job.emit`` (every) are the benchmark's own.
        events: number of events, all of which ask for a list.
        console: for progress.

    Returns:
        ``lists_per_s``; ``first_list_s`` from the start of ``headrace run`` to the first list;
        ``job`` as ``headrace run`` tells it; ``peak_rss_mb``, see `peaks_mb`; ``machine``.

    Raises:
        HeadraceError: a part did not start or failed, or lists are missing.
    """
    settings = scratch_settings(settings, "bench", {"job.emit": "every"})
    with running_broker(settings, console):
        engine = train(settings)
        console.print(f"sending {events} events")
        send(settings, shop_events(events, time.time_ns() // 1_000_000 - events), pace(None, None))
        began_ms = time.time_ns() / 1e6
        with started_job(settings, "--bounded") as job, watched_peaks(job.pid) as peaks:
            job.wait()
        told = job_result(settings)
        console.print("reading the lists back")
        made_ms = list_times_ms(settings)
    if len(made_ms) != events:
        raise FlinkError("lists are missing", expected=f"{events} lists", received=f"{len(made_ms)}")
    return {
        "events": events,
        "lists_per_s": round(middle_rate(made_ms)),
        "first_list_s": round((made_ms[0] - began_ms) / 1000, 1),
        "job": told,
        "peak_rss_mb": peaks,
        **circumstances(settings, engine),
    }


def freshness(settings: Settings, rate: float, seconds: float, console: Console) -> dict[str, Any]:
    """How long after an event was due its list can be read from Kafka.

    Open loop: event n is due n / rate seconds after the first, however late the ones before it
    were, and bears its due time; waiting in the sender counts. A list is read as soon as a
    consumer is given it and decoded after the run. Lists of the first quarter are left out.

    Args:
        settings: job settings; ports and folders are the benchmark's own.
        rate: events per second.
        seconds: length of the load.
        console: for progress.

    Returns:
        ``freshness_ms``: p50, p90, p99, max; ``lists``, how many these are of.

    Raises:
        HeadraceError: a part did not start or failed, or the job cannot keep up.
    """
    settings = scratch_settings(settings, "bench", {})
    events = round(rate * seconds)
    with running_broker(settings, console):
        engine = train(settings)
        with running_job(settings, console) as job, Reader(settings) as reader:
            start_ms = time.time_ns() // 1_000_000
            due = shop_events(events, start_ms, 1000 / rate)
            send(settings, due, pace(rate, None))
            reader.wait_for_silence()
            check_job(settings, job)
    delays_ms = reader.delays_ms(start_ms + seconds * 1000 * WARM_UP_SHARE)
    return {
        "rate": rate,
        "events": events,
        "lists": len(delays_ms),
        "freshness_ms": percentiles(delays_ms),
        **circumstances(settings, engine),
    }
