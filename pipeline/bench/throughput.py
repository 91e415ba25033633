"""How many lists a second the job makes of events that lie ready in Kafka."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline import kafka
from pipeline.bench.figures import circumstances, medians, middle_rate
from pipeline.bench.load import USERS, send, shop_events, train
from pipeline.bench.measure import now_ms, peak_memory
from pipeline.config import Settings, with_values
from pipeline.flink import for_backfill
from pipeline.scratch import running_broker, scratch_settings, started_job
from pipeline.topics import ensure_topics
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

EVENT_SPACING_MS = 1


def throughput(
    settings: Settings,
    events: int,
    console: Console,
    *,
    skew: float = 0.0,
    users: int = USERS,
    repeats: int = 3,
) -> dict[str, Any]:
    """Run the job over the same events several times, each time from empty state.

    Only the middle counts, neither start-up nor tail: the lists from the 10th to the 90th
    percentile of the record timestamps, which the sink gives them, by the time between the two.

    Args:
        settings: job settings; ports, folders and ``job.emit`` (every) are the benchmark's own.
        events: number of events, each of which asks for a list.
        console: for progress.
        skew: exponent of Zipf's law by which users act; 0: all alike.
        users: how many there are.
        repeats: how often; figures are medians.

    Returns:
        ``lists_per_s``, and ``events_per_s``, the same here; ``first_list_s`` from the start of
        ``headrace run`` to the first list; ``start_s``; ``peak_rss_mb``, the highest total;
        ``state_bytes_per_user`` of the newest checkpoint; each of ``runs``; the circumstances.

    Raises:
        HeadraceError: a part did not start or failed, or lists are missing.
    """
    settings = scratch_settings(settings, "bench", {"job.emit": "every"})
    with running_broker(settings, console):
        engine = train(settings)
        console.print(f"sending {events} events")
        begin_ms = now_ms() - events * EVENT_SPACING_MS
        send(settings, shop_events(events, begin_ms, EVENT_SPACING_MS, skew=skew, users=users))
        runs = repeated(settings, repeats, events, users, console)
    return {
        **medians(runs, ("lists_per_s", "events_per_s", "first_list_s", "start_s")),
        "peak_rss_mb": max((run["peak_rss_mb"] for run in runs), key=lambda mb: mb["total"]),
        "state_bytes_per_user": runs[-1]["state_bytes_per_user"],
        "runs": runs,
        "load": {"events": events, "users": users, "skew": skew},
        **circumstances(for_backfill(settings), engine),
    }


def repeated(
    settings: Settings, repeats: int, events: int, users: int, console: Console
) -> list[dict[str, Any]]:
    """`one_run` several times, with a word about each."""
    runs = []
    for number in range(1, repeats + 1):
        console.print(f"run {number} of {repeats}")
        runs.append(one_run(settings, number, events, users))
        console.print(f"  {runs[-1]['lists_per_s']:,} lists/s")
    return runs


def one_run(settings: Settings, number: int, events: int, users: int) -> dict[str, Any]:
    """One run from empty state, with a topic of its own for its lists."""
    topic = f"{settings.kafka.recommendations_topic}-{number}"
    settings = with_values(settings, {"kafka.recommendations_topic": topic})
    ensure_topics(settings)
    started_ms = now_ms()
    with started_job(settings, "--bounded") as job, peak_memory(job.pid) as peak_rss_mb:
        job.wait()
    ended = job_result(settings)
    made_ms = list_times_ms(settings)
    if len(made_ms) != events:
        raise FlinkError(
            "not one list for each event", expected=str(events), received=str(len(made_ms))
        )
    rate = round(middle_rate(made_ms))
    return {
        "lists_per_s": rate,
        "events_per_s": rate,
        "first_list_s": round((made_ms[0] - started_ms) / 1000, 1),
        "start_s": ended["start_s"],
        "restarts": ended["restarts"],
        "peak_rss_mb": peak_rss_mb,
        "state_bytes_per_user": round(ended["state_bytes"] / users),
    }


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
