"""Sends an event log, or an order about one user, to Kafka.

A log is sent in its own order, so each user's events arrive in order. A sender that was killed goes
on where its progress file ends. What it had sent beyond that it finds in the topic, by event id,
and does not send again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from pipeline import framing, kafka
from pipeline.console import bar
from pipeline.delivery import Progress, Standing
from pipeline.rights import check_rights
from pipeline.sender import Sender, new_producer, now_ms, pace
from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import CodecError, SettingsError

if TYPE_CHECKING:
    from confluent_kafka import Message
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
        ``topic``; ``resumed_at``, events that earlier runs knew to be delivered; ``found``, those
        after them that were in the topic all the same; ``sent``; ``delivered`` of the whole log;
        ``seconds``; ``events_per_s``; ``left_out``, rows of the log by reason.

    Raises:
        KafkaError: no broker answers, there is no such topic, or it did not take an event.
    """
    if rate is not None and speedup is not None:
        raise SettingsError(
            "Two paces are given", expected="--rate or --speedup", received="both", fix="drop one"
        )
    progress = Progress.of(settings.run_dir / "produce", _identity(settings, source))
    check_rights(settings.kafka, writes=[settings.kafka.events_topic])
    kept = progress.read() if resume else None
    start = kept or Standing(since_ms=now_ms())
    rest = iter(()) if start.finished else islice(source, start.delivered, None)
    began = time.monotonic()
    with bar(console, "producing", source.total, start.delivered) as advance:
        unsure = list(islice(rest, start.reach - start.delivered))
        present = already_sent(settings, start, unsure)
        # Rows that the source passes over are part of its total.
        sender = Sender(
            settings, start, progress, lambda done: advance(done + source.counts.total())
        )
        sent = sender.send_all(chain(unsure, rest), pace(rate, speedup), present)
    seconds = time.monotonic() - began
    delivered = sender.ledger.delivered
    return {
        "topic": settings.kafka.events_topic,
        "resumed_at": start.delivered,
        "found": delivered - start.delivered - sent,
        "sent": sent,
        "delivered": delivered,
        "seconds": round(seconds, 3),
        "events_per_s": round(sent / seconds),
        "left_out": dict(source.counts),
    }


def already_sent(settings: Settings, start: Standing, unsure: Iterable[UserEvent]) -> set[str]:
    """The ids of those events that an earlier run sent, as the events topic tells.

    Args:
        settings: where the topic is.
        start: how far that run came.
        unsure: the events that it may have sent after that.
    """
    ids = {event.event_id for event in unsure}
    if not ids:
        return set()
    topic = settings.kafka.events_topic
    messages = kafka.read_to_end(settings, topic, since_ms=start.since_ms)
    return ids.intersection(_event_ids(messages, framing.decoder(settings, "user_event")))


def control_order(
    user_id: str, action: Literal["forget", "rerank"], as_of_ms: int | None = None
) -> dict[str, Any]:
    """A new order, as of now unless a time is given."""
    return {
        "control_id": uuid.uuid4().hex,
        "user_id": user_id,
        "action": action,
        "as_of": now_ms() if as_of_ms is None else as_of_ms,
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
    check_rights(settings.kafka, writes=[topic])
    order = control_order(user_id, action, as_of_ms)
    value = framing.encoder(settings, "control").encode(order)
    answers: list[tuple[Any, Any]] = []
    producer = new_producer(settings)
    producer.produce(topic, value, user_id.encode(), on_delivery=lambda *a: answers.append(a))
    producer.flush()
    [(error, message)] = answers
    if error is not None:
        raise kafka.wrapped(error, settings.kafka)
    place = {"topic": topic, "partition": message.partition(), "offset": message.offset()}
    return order | place


def _event_ids(messages: Iterable[Message], events: codec.Decoder) -> Iterator[str]:
    for message in messages:
        with suppress(CodecError):  # Somebody else's: what was sent from here can be decoded.
            yield events.decode(message.value() or b"", canonical=False)["event_id"]


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
