"""A hostile log: 40,000 events, some bad, doubled or out of order, and users forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pipeline.sources.base import UserEvent
from pipeline.sources.synthetic import Shop
from schemas import codec

EVENTS = 40_000
USERS = 200
INTERVAL_MS = 200
BAD_SHARE = 0.02
DOUBLED_SHARE = 0.05
DISORDER_SHARE = 0.05
DISORDER_MS = 2 * 3_600_000  # twice the allowed lateness: half of them are late
FORGOTTEN_USERS = 12
SPREAD_MS = 1000
"""Between two events of the laws: eleven hours in all, in which counts decay twice."""
DEADLY_ITEM = "deadly"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record for the events topic."""

    key: bytes | None
    value: bytes | None


def hostile_log(
    shop: Shop, start_ms: int, count: int, interval_ms: int = INTERVAL_MS
) -> Iterator[Sent]:
    """The records in the order in which they are sent."""
    chance = random.Random(11)
    held_back: list[Sent] = []
    for event in shop.events(count, start_ms, interval_ms):
        if chance.random() < DISORDER_SHARE:
            earlier_ms = chance.randrange(DISORDER_MS)
            event = replace(event, event_time=event.event_time - earlier_ms)
        sent = Sent(event.user_id.encode(), codec.encode("user_event", event.as_record()))
        yield sent
        if chance.random() < DOUBLED_SHARE:
            held_back.append(sent)
        if len(held_back) > chance.randrange(1, 50):
            yield held_back.pop(0)
        if chance.random() < BAD_SHARE:
            yield chance.choice(list(BAD.values()))(event)
    yield from held_back


def deadly(event_time: int) -> Sent:
    """A good event, known by its item, of a user who has others before and after it."""
    return _encoded(UserEvent(DEADLY_ITEM, "user-00007", DEADLY_ITEM, "click", event_time))


def order(user_id: str, action: str, as_of_ms: int) -> Sent:
    """A record for the control topic."""
    record = {
        "control_id": f"{action}-{user_id}-{as_of_ms}",
        "user_id": user_id,
        "action": action,
        "as_of": as_of_ms,
    }
    return Sent(user_id.encode(), codec.encode("control", record))


def _encoded(event: UserEvent, **changes: object) -> Sent:
    record = event.as_record() | changes
    return Sent(str(record["user_id"]).encode(), codec.encode("user_event", record))


def _value(change: Callable[[bytes], bytes | None]) -> Callable[[UserEvent], Sent]:
    def spoil(event: UserEvent) -> Sent:
        good = _encoded(event)
        assert good.value is not None
        return Sent(good.key, change(good.value))

    return spoil


def _overlong(value: bytes) -> bytes:
    """The length of the event id, one byte, written in two."""
    return value[:10] + bytes([value[10] | 0x80, 0]) + value[11:]


def _malformed(value: bytes) -> bytes:
    """An item id that is no UTF-8."""
    return value.replace(b"-0", b"\xff0")


BAD: dict[str, Callable[[UserEvent], Sent]] = {
    "null value": _value(lambda value: None),
    "empty value": _value(lambda value: b""),
    "JSON instead of Avro": _value(lambda value: b'{"user_id": "user-00001"}'),
    "header cut off": _value(lambda value: value[:7]),
    "another magic": _value(lambda value: b"\x00\x01" + value[2:]),
    "unknown fingerprint": _value(lambda value: value[:2] + b"\x07" * 8 + value[10:]),
    "an order in the events topic": lambda event: order(event.user_id, "forget", event.event_time),
    "body cut off": _value(lambda value: value[:-3]),
    "body missing": _value(lambda value: value[:10]),
    "trailing bytes": _value(lambda value: value + b"\0"),
    "overlong number": _value(_overlong),
    "malformed UTF-8": _value(_malformed),
    "no key": lambda event: replace(_encoded(event), key=None),
    "another user's key": lambda event: replace(_encoded(event), key=b"somebody-else"),
    "empty item id": lambda event: _encoded(event, item_id=""),
    "control character in id": lambda event: _encoded(event, item_id="a\x07b"),
    "id too long": lambda event: _encoded(event, item_id="i" * 129),
    "before 2000": lambda event: _encoded(event, event_time=915_148_800_000),
    "ahead of its record": lambda event: _encoded(event, event_time=event.event_time + 10**12),
    "value not a number": lambda event: _encoded(event, value=float("nan")),
    "value infinite": lambda event: _encoded(event, value=float("inf")),
    "value beyond 32 bits": lambda event: _encoded(event, value=1e300),
    "propensity not a number": lambda event: _encoded(event, propensity=float("nan")),
    "too large": lambda event: _encoded(event, surface="s" * 70_000),
}
