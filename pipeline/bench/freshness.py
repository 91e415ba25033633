"""How long after an event is due a consumer has its list."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pipeline.bench.figures import circumstances, histogram, medians, percentiles
from pipeline.bench.load import AT_ONCE, USERS, Play, new_producer, plays_after_one_another, train
from pipeline.bench.measure import Reader
from pipeline.config import Settings
from pipeline.scratch import running_broker, running_job, scratch_settings

if TYPE_CHECKING:
    from rich.console import Console

WARM_UP_EVENTS = 600_000
"""Sent at once, for Java compiles what is called often, and takes a core while it does."""
WARM_UP_S = 30.0
"""At the rate of the plays, after these."""


def freshness(
    settings: Settings, rate: float, seconds: float, console: Console, *, repeats: int = 3
) -> dict[str, Any]:
    """Play events at a steady rate, several times, against one running job.

    Open loop: event n is due n / rate seconds after the first, however late the ones before it
    were, so waiting counts wherever it happens. Events are encoded before the job starts, and lists
    decoded after it has ended. Before the first play the job works through 600,000 events that lie
    ready, and then for 30 s at the rate of the plays; these lists do not count.
    Under ``emit = "latest"`` an event outdated within its bundle has no list.

    Args:
        settings: job settings; ports and folders are the benchmark's own.
        rate: events per second.
        seconds: length of a play.
        console: for progress.
        repeats: how many plays; figures are medians.

    Returns:
        ``p50_ms``, ``p90_ms``, ``p99_ms``, ``max_ms``; ``histogram`` of all plays; each of
        ``runs`` with its number of ``lists``; and the circumstances.

    Raises:
        HeadraceError: a part did not start or failed.
    """
    settings = scratch_settings(settings, "bench", {})
    lengths_s = [WARM_UP_S, *[seconds] * repeats]
    with running_broker(settings, console):
        engine = train(settings)
        burst, *plays = plays_after_one_another(
            settings,
            [(WARM_UP_EVENTS, AT_ONCE), *((round(rate * s), rate) for s in lengths_s)],
            console,
        )
        delays = played(settings, burst, plays, console)
    runs = [percentiles(of_one) | {"lists": len(of_one)} for of_one in delays]
    return {
        **medians(runs, ("p50_ms", "p90_ms", "p99_ms", "max_ms")),
        "histogram": histogram(list(chain.from_iterable(delays))),
        "runs": runs,
        "load": {"rate": rate, "seconds": seconds, "users": USERS},
        **circumstances(settings, engine),
    }


def played(
    settings: Settings, burst: Play, plays: Sequence[Play], console: Console
) -> list[list[int]]:
    """Delays in ms of the lists of each play but the first, which warms up after the burst."""
    late_ms = []
    with running_job(settings, console), Reader(settings) as reader:
        producer = new_producer(settings)
        console.print("warming up")
        burst.send(producer)
        reader.wait_for_first()
        reader.wait_for_silence()
        for number, play in enumerate(plays):
            if number:
                console.print(f"play {number} of {len(plays) - 1}")
            late_ms.append(play.send(producer))
            reader.wait_for_silence()
    return [
        reader.delays_ms(play.begin_ms, play.end_ms, late)
        for play, late in zip(plays[1:], late_ms[1:], strict=True)
    ]
