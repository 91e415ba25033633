"""Sends an event log, or an order about one user, to Kafka.

A log is sent in its own order, so each user's events arrive in order. A sender that was killed goes
on where Kafka had confirmed the last second's events; the few that it sends twice have the same
ids and the job drops them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pipeline import kafka
from pipeline.console import bar
from pipeline.delivery import Progress
from pipeline.sender import Sender, new_producer, pace
from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings
    from pipeline.sources.source import Source


def produce(
    settings: Settings,
    source: Source,
    *,
    rate: float | None = None,
    speedup: float | None = None,
    resume: bool = True,
    console: Console | None = None,
) -> dict[str, Any]:
    """Sends every event of a log to the events topic.

    Args:
        settings: where the topic is.
        source: the log.
        rate: events per second; None: as fast as possible.
        speedup: pace by event time, so many times faster than it passed; not with ``rate``.
        resume: go on after what an earlier run delivered; else begin anew.
        console: shows progress; None shows none.

    Returns:
        ``topic``; ``resumed_at``, events delivered by earlier runs; ``sent``; ``delivered`` of the
        whole log; ``seconds``; ``events_per_s``; ``left_out``, rows of the log by reason.

    Raises:
        KafkaError: no broker answers, there is no such topic, or it did not take an event.
    """
    if rate is not None and speedup is not None:
        raise SettingsError(
            "Two paces are given", expected="--rate or --speedup", received="both", fix="drop one"
        )
    progress = Progress.of(settings.run_dir / "produce", _identity(settings, source))
    begin, finished = progress.read() if resume else (0, False)
    events: Iterable[UserEvent] = () if finished else islice(source, begin, None)
    began = time.monotonic()
    with bar(console, "producing", source.total, begin) as advance:
        sender = Sender(settings, begin, progress, advance)
        sender.send_all(events, pace(rate, speedup))
    seconds = time.monotonic() - began
    sent = sender.ledger.sent - begin
    return {
        "topic": settings.kafka.events_topic,
        "resumed_at": begin,
        "sent": sent,
        "delivered": sender.ledger.delivered,
        "seconds": round(seconds, 3),
        "events_per_s": round(sent / seconds),
        "left_out": dict(source.counts),
    }


def send_control(
    settings: Settings,
    user_id: str,
    action: Literal["forget", "rerank"],
    as_of_ms: int | None = None,
) -> dict[str, Any]:
    """Sends one order to the control topic and waits until Kafka has it.

    Args:
        settings: where the topic is.
        user_id: whom it is about.
        action: "forget" erases the user's profile; "rerank" publishes a list from it.
        as_of_ms: forget: events up to and including this time are never applied again.
            None: now.

    Returns:
        The order with its place: ``topic``, ``partition``, ``offset``.
    """
    topic = settings.kafka.control_topic
    kafka.partitions_of(settings.kafka, topic)
    order = {
        "control_id": uuid.uuid4().hex,
        "user_id": user_id,
        "action": action,
        "as_of": time.time_ns() // 1_000_000 if as_of_ms is None else as_of_ms,
    }
    value = codec.encode("control", order)
    answers: list[tuple[Any, Any]] = []
    producer = new_producer(settings)
    producer.produce(topic, value, user_id.encode(), on_delivery=lambda *a: answers.append(a))
    producer.flush()
    [(error, message)] = answers
    if error is not None:
        raise kafka.wrapped(error, settings.kafka)
    place = {"topic": topic, "partition": message.partition(), "offset": message.offset()}
    return order | place


def _identity(settings: Settings, source: Source) -> dict[str, Any]:
    """What is sent where. A log file that was changed, or a topic made anew, is another one."""
    files = [
        [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        for file in getattr(source, "files", [])
    ]
    return {
        "log": type(source).__name__,
        "files": files,
        "window": [source.window.since_ms, source.window.until_ms],
        "topic": kafka.topic_id(settings.kafka, settings.kafka.events_topic),
    }
