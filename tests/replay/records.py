"""Good records for tests of the fold, and random histories of one user."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import numpy as np
import xxhash

from pipeline.replay.judge import Decoded

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
VALUES = (0.0, -0.0, 1.0, 4.5, 1e-45, 3.4028234663852886e38, -19.99)

IMPRESSION, VIEW, CLICK, PURCHASE, HIDE = 1, 2, 3, 5, 10


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
