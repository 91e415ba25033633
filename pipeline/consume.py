"""Reads lists back from the recommendations topic, as a consumer of the product would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import kafka
from schemas import codec

if TYPE_CHECKING:
    from confluent_kafka import Message

    from pipeline.config import Settings

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Published:
    """One record of the topic.

    Attributes:
        user_id: whose list it is.
        order: (job_epoch, user_epoch, version, engine_seq); the highest of a user counts.
        list: the record of ``recommendation_list``; None: a tombstone, the user was forgotten.
    """

    user_id: str
    order: tuple[int, int, int, int]
    list: dict[str, Any] | None

    @classmethod
    def of(cls, message: Message) -> Published:
        user_id = message.key().decode()
        if message.value() is None:
            # A tombstone opens its user epoch, so it comes before every list of that epoch.
            epochs = dict(message.headers() or ())
            job, user = (int(epochs.get(name, b"0")) for name in ("job_epoch", "user_epoch"))
            return cls(user_id, (job, user, 0, 0), None)
        record = codec.decode("recommendation_list", message.value(), canonical=False)
        order = tuple(record[n] for n in ("job_epoch", "user_epoch", "version", "engine_seq"))
        return cls(user_id, order, record)


class Newest:
    """The newest record of each user: an older one never replaces a newer one."""

    def __init__(self) -> None:
        self.by_user: dict[str, Published] = {}

    def offer(self, published: Published) -> bool:
        """Takes the record unless it is older than what is there; returns whether it was taken."""
        present = self.by_user.get(published.user_id)
        if present and published.order < present.order:
            return False
        self.by_user[published.user_id] = published
        return True


def consume(
    settings: Settings,
    show: Callable[[Published], None],
    *,
    user: str | None = None,
    follow: bool = False,
    from_beginning: bool = True,
    limit: int = 10,
) -> dict[str, Any]:
    """Shows lists.

    Args:
        settings: where the topic is.
        show: called with each record to be shown, oldest first.
        user: only this user's.
        follow: every new list as it comes, until Ctrl-C; else each user's newest and done.
        from_beginning: with ``follow``: begin with what is there already.
        limit: stop after so many; 0 goes on. Without ``follow``: the latest so many.

    Returns:
        ``users`` that have a list, ``forgotten`` users, the ``lists`` shown, JSON-ready.

    Raises:
        KafkaError: no broker answers, or there is no such topic.
    """
    newest = Newest()
    shown: list[Published] = []
    if follow:
        for published in _follow(settings, newest, user, from_beginning):
            show(published)
            shown.append(published)
            if len(shown) == limit:
                break
    else:
        for message in _read(settings, user):
            newest.offer(Published.of(message))
        alive = [one for one in newest.by_user.values() if one.list or user]
        shown = sorted(alive, key=_generated_at)[-limit:]
        for published in shown:
            show(published)
    lists = sum(one.list is not None for one in newest.by_user.values())
    return {
        "users": lists,
        "forgotten": len(newest.by_user) - lists,
        "lists": [as_json(one.list) for one in shown if one.list],
    }


def as_json(record: dict[str, Any]) -> dict[str, Any]:
    """A decoded list with its digests as hex digits."""
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in record.items()}


def _generated_at(published: Published) -> int:
    return int(published.list["generated_at"]) if published.list else 0


def _read(settings: Settings, user: str | None) -> Iterator[Message]:
    """Every record of the topic that is about the user, or about anybody."""
    key = user.encode() if user else None
    for message in kafka.read_to_end(settings, settings.kafka.recommendations_topic, key=key):
        if key in (None, message.key()):
            yield message


def _follow(
    settings: Settings, newest: Newest, user: str | None, from_beginning: bool
) -> Iterator[Published]:
    """Records that are newer than all before them, as they come; ends at Ctrl-C."""
    key = user.encode() if user else None
    topic = settings.kafka.recommendations_topic
    consumer = kafka.reader(settings, [topic], key=key, from_end=not from_beginning)
    with closing(consumer), suppress(KeyboardInterrupt):
        while True:
            message = consumer.poll(POLL_S)
            if message is None or message.error() or key not in (None, message.key()):
                continue
            published = Published.of(message)
            if newest.offer(published):
                yield published
