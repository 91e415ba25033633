"""What a model is fitted on, and what it is judged by while that goes on.

by time   a a a|h h         the events from a time on are held out; the first of each user who
          b b b|            has earlier ones is to be found
          c|h
by last   a a a a h         of some users the newest event is held out, and is to be found
          b b b b b
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.models.interactions import Interactions

SHARE = 10
"""By last: one user in so many, ..."""
USERS = 2000
"""... and no more than these."""


@dataclass(frozen=True, eq=False)
class Split:
    """A log in two.

    Args:
        whole: all of it.
        train: without what is held out.
        judged: int64 [J] places in ``whole`` of the events that are to be found, rising; each has
            at least one event of ``train`` before it in its user's history, and none held out.
    """

    whole: Interactions
    train: Interactions
    judged: NDArray[np.int64]

    @classmethod
    def by_time(cls, seen: Interactions, from_ms: int) -> Split:
        """Hold out what happened at ``from_ms`` or later."""
        return cls._of(seen, seen.time_ms >= from_ms)

    @classmethod
    def by_last(cls, seen: Interactions, seed: int) -> Split:
        """Hold out the newest event of some users that have three or more."""
        count = np.bincount(seen.user)
        users = np.flatnonzero(count >= 3)
        chosen = min(USERS, len(users) // SHARE)
        users = np.random.default_rng(seed).choice(users, chosen, replace=False)
        held = np.zeros(len(seen.user), bool)
        held[np.cumsum(count)[users] - 1] = True
        return cls._of(seen, held)

    @classmethod
    def _of(cls, seen: Interactions, held: NDArray[np.bool_]) -> Split:
        follows = np.zeros(len(held), bool)
        follows[1:] = held[1:] & ~held[:-1] & (seen.user[1:] == seen.user[:-1])
        return cls(seen, seen.only(~held), np.flatnonzero(follows))
