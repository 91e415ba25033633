"""Good records for tests of the fold, and random histories of one user."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import numpy as np
import xxhash

from pipeline.replay.judge import Decoded
from schemas.codec import encode, header
from schemas.reasons import Reason

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
VALUES = (0.0, -0.0, 1.0, 4.5, 1e-45, 3.4028234663852886e38, -19.99)

IMPRESSION, VIEW, CLICK, PURCHASE, HIDE = 1, 2, 3, 5, 10

WIRE_EVENT = {
    "event_id": "abc",
    "user_id": "u1",
    "item_id": "abc",
    "event_type": "purchase",
    "event_time": START_MS,
    "value": 4.5,
}
DECODED_EVENT = Decoded(
    user_id="u1",
    action="event",
    event_hash=0x06B05AB6733A618578AF5F94892F3950,  # XXH3-128 of "abc"
    item_hash=0x78AF5F94892F3950,  # XXH3-64 of "abc"
    event_type=PURCHASE,
    event_time=START_MS,
    amount=4.5,
)


def ladder() -> list[tuple[bytes | None, bytes | None, Reason]]:
    """Value, key and verdict of events with many faults, each mended by one in the next line."""
    faulty = encode("user_event", {**WIRE_EVENT, "item_id": "", "event_time": 0})
    too_early = encode("user_event", {**WIRE_EVENT, "event_time": 0, "propensity": float("inf")})
    not_finite = encode("user_event", {**WIRE_EVENT, "propensity": float("inf")})
    return [
        (None, None, Reason.NULL_VALUE),
        (b"\x00" + faulty + bytes(65_536), None, Reason.OVERSIZE),
        (b"\x00" + faulty + b"?", None, Reason.INVALID_MAGIC_BYTE),
        (header("control") + faulty[10:-1], None, Reason.UNKNOWN_SCHEMA),
        (faulty[:-1], None, Reason.AVRO_DECODE_FAILED),
        (faulty[:-1] + b"\x80\x00?", None, Reason.TRAILING_BYTES),
        (faulty[:-1] + b"\x80\x00", None, Reason.NOT_CANONICAL),
        (faulty, None, Reason.MISSING_KEY),
        (faulty, b"u2", Reason.KEY_MISMATCH),
        (faulty, b"u1", Reason.BAD_ID),
        (too_early, b"u1", Reason.TIMESTAMP_OUT_OF_RANGE),
        (not_finite, b"u1", Reason.NON_FINITE),
    ]


def event(
    name: str,
    item: str = "i",
    *,
    event_type: int = CLICK,
    at: int = START_MS,
    value: float = 0.0,
) -> Decoded:
    """An event with id ``name`` at time ``at``, ms since 1970."""
    return Decoded(
        user_id="u",
        action="event",
        event_hash=xxhash.xxh3_128_intdigest(name.encode()),
        item_hash=xxhash.xxh3_64_intdigest(item.encode()),
        event_type=event_type,
        event_time=at,
        amount=float(np.float32(value)),
    )


def order(action: Literal["forget", "rerank"], at: int = START_MS) -> Decoded:
    return Decoded("u", action, 0, 0, 0, at, 0.0)


def random_history(rng: random.Random, steps: int) -> Iterator[Decoded]:
    """``steps`` records of one user with everything that the rules know of.

    Times walk forward with ties, disorder, lateness of more than an hour and, now and then, a
    silence of more than 10 days; ids come back while they are remembered and after; few items, so
    that exclusions repeat; orders to forget (some of them stale) and to rerank.
    """
    now = START_MS + rng.randrange(DAY_MS)
    for step in range(steps):
        chance = rng.random()
        if chance < 0.005:
            yield order("forget", now - rng.choice((0, 1, HOUR_MS, 40 * DAY_MS)))
        elif chance < 0.03:
            yield order("rerank", now)
        else:
            now += rng.choice((0, 0, 1, 1000, 60_000, HOUR_MS))
            if rng.random() < 0.01:
                now += rng.choice((3, 10, 11, 200)) * DAY_MS
            yield event(
                f"e{max(0, step - rng.randrange(90)) if rng.random() < 0.1 else step}",
                f"i{rng.randrange(120)}",
                event_type=rng.randrange(12),
                at=now - rng.choice((0, 0, 0, 0, 1, 60_000, HOUR_MS, 2 * HOUR_MS)),
                value=rng.choice(VALUES),
            )
