"""What the demo sends: the events of the synthetic shop, with a few faults among them.

Every record has a due time. An event is stamped with its due time, not with the time it got away,
so that a stall of the sender counts as lost freshness instead of hiding it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.sections import KafkaSettings
from pipeline.sources.base import UserEvent
from schemas import codec

DOUBLED_SHARE = 0.01
LATE_SHARE = 0.003
BAD_SHARE = 0.005
LATE_BY_MS = 2 * 3600 * 1000
FORGOTTEN_USERS = 2
STRAGGLER_S = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record to send ``due_s`` seconds after the start, and the good event in it."""

    due_s: float
    topic: str
    key: bytes
    value: bytes
    event: UserEvent | None = None


def play(
    events: Iterable[UserEvent], kafka: KafkaSettings, start_ms: int, rate: float, seed: int
) -> Iterator[Record]:
    """Records in the order of their due times.

    Args:
        events: in order; their times are replaced by due times.
        kafka: names of the topics.
        start_ms: of the play, ms since 1970.
        rate: events per second.
        seed: of the faults.
    """
    chance = random.Random(f"{seed} faults")  # noqa: S311 - a seeded play, not a secret
    encoder = codec.Encoder("user_event")
    for at, event in enumerate(events):
        due_s = at / rate
        stamped = replace(event, event_time=start_ms + round(due_s * 1000))
        if chance.random() < LATE_SHARE:
            stamped = replace(stamped, event_time=stamped.event_time - LATE_BY_MS)
        key, value = event.user_id.encode(), encoder.encode(stamped.as_record())
        yield Record(due_s, kafka.events_topic, key, value, stamped)
        if chance.random() < DOUBLED_SHARE:
            yield Record(due_s, kafka.events_topic, key, value)
        if chance.random() < BAD_SHARE:
            yield Record(due_s, kafka.events_topic, key, spoilt(value, chance))


def spoilt(value: bytes, chance: random.Random) -> bytes:
    """The value as a faulty producer might have sent it; never decodable."""
    return chance.choice(
        [
            b'{"user_id": "json, not Avro"}',
            value[:2] + b"\0" * 8 + value[10:],
            value[: len(value) // 2],
            value + b"\n",
            b"",
        ]
    )


def farewell(user: str, kafka: KafkaSettings, as_of_ms: int, due_s: float) -> list[Record]:
    """An order to forget a user, and a second later an event from before it that was held up."""
    key = user.encode()
    order = {
        "control_id": f"demo-forget-{user}",
        "user_id": user,
        "action": "forget",
        "as_of": as_of_ms,
    }
    straggler = UserEvent(
        event_id=f"demo-straggler-{user}",
        user_id=user,
        item_id="lig-000",
        event_type="view",
        event_time=as_of_ms - 500,
    )
    return [
        Record(due_s, kafka.control_topic, key, codec.encode("control", order)),
        Record(
            due_s + STRAGGLER_S,
            kafka.events_topic,
            key,
            codec.encode("user_event", straggler.as_record()),
        ),
    ]


def busiest_user(events: Iterable[UserEvent]) -> str:
    """The user with the most events."""
    return Counter(event.user_id for event in events).most_common(1)[0][0]


def quiet_users(events: Iterable[UserEvent]) -> list[str]:
    """Users to forget: they act, but nobody looks at them."""
    counted = Counter(event.user_id for event in events).most_common()
    return [user for user, _ in counted[1 : 1 + FORGOTTEN_USERS]]
