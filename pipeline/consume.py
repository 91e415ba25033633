"""Reads lists back from the recommendations topic, as a consumer of the product would."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import framing, kafka
from schemas import codec

if TYPE_CHECKING:
    from confluent_kafka import Message

    from pipeline.config import Settings

POLL_S = 0.5
SHOWN = 10
"""How many lists are shown at most, unless said otherwise."""

Order = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Published:
    """One record of the topic.

    Attributes:
        user_id: whose list it is.
        order: (job_epoch, user_epoch, version, engine_seq); the highest of a user counts.
        list: the record of ``recommendation_list``; None: a tombstone, the user was forgotten.
    """

    user_id: str
    order: Order
    list: dict[str, Any] | None

    @classmethod
    def of(cls, message: Message, lists: codec.Decoder) -> Published:
        """A record of the topic; ``lists`` is a decoder of `framing`."""
        user_id = message.key().decode()
        if message.value() is None:
            # A tombstone opens its user epoch, so it comes before every list of that epoch.
            epochs = dict(message.headers() or ())
            job, user = (int(epochs.get(name, b"0")) for name in ("job_epoch", "user_epoch"))
            return cls(user_id, (job, user, 0, 0), None)
        record = lists.decode(message.value(), canonical=False)
        order = tuple(record[n] for n in ("job_epoch", "user_epoch", "version", "engine_seq"))
        return cls(user_id, order, record)


class Newest:
    """The order of each user's newest record, and whether it was a list."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._listed: set[str] = set()

    def offer(self, published: Published) -> bool:
        """Takes the record unless it is older than one before; returns whether it was taken."""
        user_id = published.user_id
        if published.order < self._orders.get(user_id, published.order):
            return False
        self._orders[user_id] = published.order
        (self._listed.add if published.list else self._listed.discard)(user_id)
        return True

    def counts(self) -> dict[str, int]:
        """``users`` that have a list and users ``forgotten``."""
        return {"users": len(self._listed), "forgotten": len(self._orders) - len(self._listed)}


def consume(
    settings: Settings,
    show: Callable[[Published], None],
    *,
    user: str | None = None,
    follow: bool = False,
    from_beginning: bool = True,
    limit: int | None = None,
) -> dict[str, Any]:
    """Shows lists.

    Args:
        settings: where the topic is.
        show: called with each record to be shown, oldest first.
        user: only this user's.
        follow: every new list as it comes, until Ctrl-C; else each user's newest and done.
        from_beginning: with ``follow``: begin with what is there already.
        limit: stop after so many; 0 goes on. Without ``follow``: the latest so many.
            None: 10, or with ``follow`` go on.

    Returns:
        ``users`` that have a list, ``forgotten`` users, the ``lists`` shown, JSON-ready; none of
        them are kept when following without a limit.

    Raises:
        KafkaError: no broker answers, there is no such topic, or it cannot be read.
    """
    newest = Newest()
    if follow:
        records = _follow(settings, newest, user, from_beginning)
        shown = _show_as_they_come(records, show, limit or 0)
    else:
        shown = _latest(settings, newest, user, SHOWN if limit is None else limit)
        for published in shown:
            show(published)
    return newest.counts() | {"lists": [as_json(one.list) for one in shown if one.list]}


def as_json(record: dict[str, Any]) -> dict[str, Any]:
    """A decoded list with its digests as hex digits."""
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in record.items()}


def _generated_at(published: Published) -> int:
    return int(published.list["generated_at"]) if published.list else 0


def _show_as_they_come(
    records: Generator[Published, None, None], show: Callable[[Published], None], limit: int
) -> list[Published]:
    """Shows records until the limit or Ctrl-C; without a limit keeps none, for there is no end."""
    kept: list[Published] = []
    with closing(records), suppress(KeyboardInterrupt):
        for published in records:
            show(published)
            if limit:
                kept.append(published)
                if len(kept) == limit:
                    break
    return kept


def _latest(settings: Settings, newest: Newest, user: str | None, limit: int) -> list[Published]:
    """The newest record of each user, those made last; tombstones only of a user asked for."""
    by_user: dict[str, Published] = {}
    key = user.encode() if user else None
    lists = framing.decoder(settings, "recommendation_list")
    for message in kafka.read_to_end(settings, settings.kafka.recommendations_topic, key=key):
        if key not in (None, message.key()):
            continue
        if newest.offer(published := Published.of(message, lists)):
            by_user[published.user_id] = published
    alive = [one for one in by_user.values() if one.list or user]
    return sorted(alive, key=_generated_at)[-limit:]


def _follow(
    settings: Settings, newest: Newest, user: str | None, from_beginning: bool
) -> Generator[Published, None, None]:
    """Records that are newer than all before them, as they come, without end."""
    from confluent_kafka import KafkaError as Reason

    key = user.encode() if user else None
    lists = framing.decoder(settings, "recommendation_list")
    topic = settings.kafka.recommendations_topic
    consumer = kafka.reader(settings, [topic], key=key, from_end=not from_beginning)
    with closing(consumer):
        while True:
            message = consumer.poll(POLL_S)
            if message is None:
                continue
            if error := message.error():
                if error.code() != Reason._PARTITION_EOF:
                    raise kafka.wrapped(error, settings.kafka)
            elif key in (None, message.key()):
                published = Published.of(message, lists)
                if newest.offer(published):
                    yield published
