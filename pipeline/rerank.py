"""A list for every user whose newest one is of an earlier engine, without waiting for an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engines.registry import Registry
from pipeline import framing, kafka
from pipeline.console import bar
from pipeline.consume import Order, Published
from pipeline.produce import control_order
from pipeline.rights import check_rights
from pipeline.sender import new_producer

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def rerank_idle(
    settings: Settings,
    rate: float,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Orders lists from the active engine for users whose newest list is of an earlier one.

    Args:
        settings: where topics and store are.
        rate: orders a second, so that events do not wait behind them.
        console: shows progress; None shows none.
        clock, sleep: seconds that only rise, and what waits for them.

    Returns:
        ``engine``, ``engine_seq``; ``users`` with a list; ``ordered``.

    Raises:
        EngineError: no engine is active.
        KafkaError: the topics cannot be read or written.
    """
    active = Registry(settings.engine.store).active()
    newest = newest_orders(settings)
    idle = [user for user, (_, _, _, seq) in sorted(newest.items()) if seq < active.engine_seq]
    check_rights(settings.kafka, writes=[settings.kafka.control_topic])
    with bar(console, "ordering", len(idle)) as advance:
        _send(settings, _paced(idle, rate, clock, sleep, advance))
    return {
        "engine": active.label,
        "engine_seq": active.engine_seq,
        "users": len(newest),
        "ordered": len(idle),
    }


def newest_orders(settings: Settings) -> dict[str, Order]:
    """(job_epoch, user_epoch, version, engine_seq) of the newest list of each user that has one."""
    lists = framing.decoder(settings, "recommendation_list")
    newest: dict[str, Published] = {}
    for message in kafka.read_to_end(settings, settings.kafka.recommendations_topic):
        published = Published.of(message, lists)
        known = newest.get(published.user_id)
        if known is None or published.order >= known.order:
            newest[published.user_id] = published
    return {user: one.order for user, one in newest.items() if one.list is not None}


def _paced(
    users: list[str],
    rate: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    advance: Callable[[int], None],
) -> Iterator[str]:
    began = clock()
    for number, user in enumerate(users):
        sleep(max(0.0, began + number / rate - clock()))
        yield user
        advance(number + 1)


def _send(settings: Settings, users: Iterator[str]) -> None:
    """Send an order for each, and wait until Kafka has them all."""
    encoder = framing.encoder(settings, "control")
    errors: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            errors.append(error)

    producer = new_producer(settings)
    for user in users:
        value = encoder.encode(control_order(user, "rerank"))
        producer.produce(settings.kafka.control_topic, value, user.encode(), on_delivery=delivered)
        producer.poll(0)
    producer.flush()
    if errors:
        raise kafka.wrapped(errors[0], settings.kafka)
