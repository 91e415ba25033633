"""How long after an event is due a consumer has its list."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from pipeline.bench.figures import circumstances, histogram, medians, percentiles
from pipeline.bench.load import USERS, play, shop_events, train
from pipeline.bench.measure import Reader
from pipeline.config import Settings
from pipeline.scratch import running_broker, running_job, scratch_settings
from pipeline.sender import new_producer

if TYPE_CHECKING:
    from rich.console import Console

WARM_UP_S = 60.0
"""Java compiles on a slow machine as long as that."""


def freshness(
    settings: Settings, rate: float, seconds: float, console: Console, *, repeats: int = 3
) -> dict[str, Any]:
    """Play events at a steady rate, several times, against one running job.

    Open loop: event n is due n / rate seconds after the first, however late the ones before it
    were, and bears that time, so waiting counts wherever it happens. Lists are decoded after the
    run. Before the first play the job works for 60 s at the same rate, whose lists do not count.
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
        first, *rest = shop_events(1 + sum(round(rate * length_s) for length_s in lengths_s))
        events = iter(rest)
        bounds_ms: list[tuple[int, float]] = []
        with running_job(settings, console), Reader(settings) as reader:
            producer = new_producer(settings)
            play(settings, [first], rate, producer)
            reader.wait_for_first()
            for number, length_s in enumerate(lengths_s):
                console.print(f"play {number} of {repeats}" if number else "warming up")
                part = list(islice(events, round(rate * length_s)))
                start_ms = play(settings, part, rate, producer)
                reader.wait_for_silence()
                bounds_ms.append((start_ms, start_ms + length_s * 1000))
    plays = [reader.delays_ms(*bounds) for bounds in bounds_ms[1:]]
    runs = [percentiles(delays) | {"lists": len(delays)} for delays in plays]
    return {
        **medians(runs, ("p50_ms", "p90_ms", "p99_ms", "max_ms")),
        "histogram": histogram(list(chain.from_iterable(plays))),
        "runs": runs,
        "load": {"rate": rate, "seconds": seconds, "users": USERS},
        **circumstances(settings, engine),
    }
