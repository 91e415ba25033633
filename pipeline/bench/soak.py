"""Whether lag or memory grow when the job works steadily for a long time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from statistics import median
from typing import TYPE_CHECKING, Any

from pipeline import kafka
from pipeline.bench.figures import circumstances, percentiles
from pipeline.bench.load import AT_ONCE, USERS, new_producer, plays_after_one_another, train
from pipeline.bench.measure import Reader, resident_mb
from pipeline.config import Settings
from pipeline.scratch import check_job, running_broker, running_job, scratch_settings

if TYPE_CHECKING:
    from subprocess import Popen

    from rich.console import Console

SAMPLE_EVERY_S = 10.0
KEEP_EVERY = 50
"""One of so many lists is kept for the figures of freshness."""
SETTLE_SHARE = 0.2
"""The first part of the time, in which code and caches warm up, is not compared."""


def soak(settings: Settings, rate: float, minutes: float, console: Console) -> dict[str, Any]:
    """Play events at a steady rate and compare the beginning with the end.

    Args:
        settings: job settings; ports, folders and ``job.emit`` (every) are the benchmark's own.
        rate: events per second; 70% of what ``bench throughput`` says is a fair choice.
        minutes: length of the play.
        console: for progress.

    Returns:
        ``lag_lists`` (events sent whose list is not there) and ``rss_mb`` of command, JVM and
        Python together, both as medians ``early``, ``late`` and the ``max``; ``early`` and
        ``late`` percentiles of freshness; ``growing``: whether ``late`` lag is above ``early`` by
        more than a second's events, or memory by more than a tenth; and the circumstances.

    Raises:
        HeadraceError: a part did not start or failed.
    """
    settings = scratch_settings(settings, "bench", {"job.emit": "every"})
    count = round(rate * minutes * 60)
    with running_broker(settings, console):
        engine = train(settings)
        first, play = plays_after_one_another(settings, [(1, AT_ONCE), (count, rate)], console)
        with (
            running_job(settings, console) as job,
            Reader(settings, keep_every=KEEP_EVERY) as reader,
            ThreadPoolExecutor(1, "load") as pool,
        ):
            producer = new_producer(settings)
            first.send(producer)
            reader.wait_for_first()
            sending = pool.submit(play.send, producer)
            samples = sampled(settings, job, sending, console)
            late_ms = sending.result()
            reader.wait_for_silence()
    settled_ms = play.begin_ms + (play.end_ms - play.begin_ms) * SETTLE_SHARE
    middle_ms = (settled_ms + play.end_ms) / 2
    lag = compared([lag for lag, _ in samples])
    memory = compared([mb for _, mb in samples])
    return {
        "lag_lists": lag,
        "rss_mb": memory,
        "early": percentiles(reader.delays_ms(settled_ms, middle_ms, late_ms)),
        "late": percentiles(reader.delays_ms(middle_ms, late_ms=late_ms)),
        "growing": is_growing(lag, memory, rate),
        "load": {"rate": rate, "minutes": minutes, "users": USERS},
        **circumstances(settings, engine),
    }


def sampled(
    settings: Settings, job: Popen[bytes], sending: Future[int], console: Console
) -> list[tuple[float, float]]:
    """Lag in lists and resident memory in MB, every 10 s while events are sent."""
    samples = []
    while not sending.done():
        check_job(settings, job)
        sent = kafka.end_offset(settings.kafka, settings.kafka.events_topic)
        made = kafka.end_offset(settings.kafka, settings.kafka.recommendations_topic)
        samples.append((float(sent - made), resident_mb(job.pid)))
        console.print(f"{sent:,} events, {sent - made:,} behind, {samples[-1][1]:,.0f} MB")
        wait([sending], SAMPLE_EVERY_S)
    return samples


def is_growing(lag: dict[str, float], memory: dict[str, float], rate: float) -> bool:
    """Lag by more than a second's events, or memory by more than a tenth."""
    return lag["late"] > lag["early"] + rate or memory["late"] > memory["early"] * 1.1


def compared(values: Sequence[float]) -> dict[str, float]:
    """Medians of the early and the late half of what comes after the settling, and the maximum.

    >>> compared([900, 900, 10, 10, 10, 10, 20, 20, 20, 20])
    {'early': 10.0, 'late': 20.0, 'max': 20}
    """
    settled = values[int(len(values) * SETTLE_SHARE) :]
    middle = len(settled) // 2
    halves = settled[:middle] or settled, settled[middle:]
    return {"early": median(halves[0]), "late": median(halves[1]), "max": max(settled)}
