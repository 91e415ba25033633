"""A log as training examples of a sequence model: windows over each user's events.

    events of a user   a b c d e f g          H = 3
    window 1           a b c ─▶ b c d         what was seen ─▶ what came next, event by event
    window 2           d e f ─▶ e f g

Every event but a user's first is a target once. What a window shows is made by the features
function, as in serving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.features import Histories, features
from engines.models.interactions import Interactions
from schemas.profile import HISTORY_SLOTS


@dataclass(frozen=True, eq=False)
class Batch:
    """``n`` windows of at most L events.

    Args:
        features: as of `engines.features.features`, [n, L] each, right-aligned.
        target: int64 [n, L] catalogue index of the event after each one, 0 at pads.
    """

    features: dict[str, NDArray[Any]]
    target: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """W windows of at most ``slots`` events with a next one each.

    Args:
        seen: the log.
        start: int64 [W] place of each window's first event in ``seen``.
        length: int64 [W] events in it, at least 1.
    """

    seen: Interactions
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, seen: Interactions, slots: int = HISTORY_SLOTS) -> Windows:
        """The windows of all users, in the order of the log; none of users with one event."""
        events = np.bincount(seen.user, minlength=seen.training.users)
        first = np.cumsum(events) - events
        targets = np.maximum(events - 1, 0)
        counts = -(-targets // slots)
        user = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
        start = first[user] + number * slots
        return cls(seen, start, np.minimum(targets[user] - number * slots, slots))

    def __len__(self) -> int:
        return len(self.start)

    @property
    def targets(self) -> int:
        """How many events are a target."""
        return int(self.length.sum())

    def batches(self, events: int, chance: np.random.Generator) -> Iterator[Batch]:
        """All windows once, those of like length together, the batches in an order of chance.

        Args:
            events: of a batch, pads among them, at most; a longer window is a batch of its own.
            chance: decides the order; equal states give equal batches.
        """
        order = np.lexsort((chance.random(len(self)), self.length))
        # As many windows of this length as fit, counted from the longest of each batch.
        groups = []
        end = len(order)
        while end:
            size = max(1, events // int(self.length[order[end - 1]]))
            groups.append(order[max(0, end - size) : end])
            end = max(0, end - size)
        for group in chance.permutation(len(groups)):
            yield self.batch(groups[group])

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The windows ``rows`` [n]."""
        length = self.length[rows]
        slots = int(length.max())
        filled = np.arange(slots) >= slots - length[:, None]
        places = (self.start[rows] + length - slots)[:, None] + np.arange(slots)
        events = places[filled]
        histories = Histories(
            lengths=length,
            item_hash=self._hashes[self.seen.item[events] - 1],
            event_type=self.seen.event_type[events],
            event_time=self.seen.time_ms[events],
            excluded_lengths=np.zeros(len(rows), np.int64),
            excluded=np.empty(0, np.uint64),
            slots=slots,
            excluded_slots=0,
        )
        target = np.zeros(filled.shape, np.int64)
        target[filled] = self.seen.item[events + 1]
        return Batch(features(histories, self.seen.catalogue), target)

    @cached_property
    def _hashes(self) -> NDArray[np.uint64]:
        hashes: NDArray[np.uint64] = self.seen.catalogue.table["item_hash"].to_numpy()
        return hashes
