"""How long after an event is due a consumer has its list."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from pipeline.bench.figures import circumstances, histogram, medians, percentiles
from pipeline.bench.load import USERS, play, send, shop_events, stamped, train
from pipeline.bench.measure import Reader, now_ms
from pipeline.config import Settings
from pipeline.scratch import running_broker, running_job, scratch_settings
from pipeline.sender import new_producer

if TYPE_CHECKING:
    from rich.console import Console

WARM_UP_EVENTS = 200_000
"""Sent at once, for Java compiles what is called often, and takes a core while it does."""
WARM_UP_S = 30.0
"""At the rate of the plays, after these."""


def freshness(
    settings: Settings, rate: float, seconds: float, console: Console, *, repeats: int = 3
) -> dict[str, Any]:
    """Play events at a steady rate, several times, against one running job.

    Open loop: event n is due n / rate seconds after the first, however late the ones before it
    were, and bears that time, so waiting counts wherever it happens. Lists are decoded after the
    run. Before the first play the job works through 200,000 events that lie ready, and then for
    30 s at the rate of the plays; these lists do not count.
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
        in_plays = sum(round(rate * length_s) for length_s in lengths_s)
        events = iter(list(shop_events(WARM_UP_EVENTS + in_plays)))
        bounds_ms: list[tuple[int, float]] = []
        with running_job(settings, console), Reader(settings) as reader:
            producer = new_producer(settings)
            console.print("warming up")
            send(settings, stamped(islice(events, WARM_UP_EVENTS), now_ms(), 0), producer)
            reader.wait_for_first()
            reader.wait_for_silence()
            for number, length_s in enumerate(lengths_s):
                if number:
                    console.print(f"play {number} of {repeats}")
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
