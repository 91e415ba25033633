"""A log as training examples of a sequence model: windows over each user's events.

    events of a user   a b c d e f g          H = 3
    window 1           a b c ─▶ b c d         what was seen ─▶ what came next, event by event
    window 2           d e f ─▶ e f g

Every event but a user's first is a target once. What a window shows is made by the features
function, as in serving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

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

    def looking_ahead(self, share: float, chance: np.random.Generator) -> Batch:
        """Some targets exchanged for one that comes up to AHEAD events later in their window.

        What comes d events later is taken with a chance by 1/sqrt(d), as co-occurrence weighs it:
        what a user wants is seldom decided by the very next event alone.

        Args:
            share: of the targets, on average.
        """
        slots = self.target.shape[1]
        weight = np.cumsum(np.arange(1, AHEAD + 1) ** -0.5)
        left = np.minimum(np.arange(slots, 0, -1), AHEAD)  # events from each place to the end
        drawn = chance.random(self.target.shape) * weight[left - 1]
        further = np.searchsorted(weight, drawn, side="right")
        further[chance.random(self.target.shape) >= share] = 0
        later = np.take_along_axis(self.target, np.arange(slots) + further, axis=1)
        return Batch(self.features, np.where(self.target > 0, later, 0))


AHEAD = 10
"""How far `Batch.looking_ahead` looks, in events."""


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

    @classmethod
    def before(
        cls, seen: Interactions, places: NDArray[np.int64], slots: int = HISTORY_SLOTS
    ) -> Windows:
        """For each event [W] in ``places`` a window of at most ``slots`` events right before it.

        Those that have none before them in their user's history are left out.
        """
        first = np.searchsorted(seen.user, seen.user[places])
        length = np.minimum(places - first, slots)
        some = length > 0
        return cls(seen, (places - length)[some], length[some])

    def __len__(self) -> int:
        return len(self.start)

    def digest(self) -> str:
        """Hex; the same for the same windows over the same log."""
        digest = xxh3_128()
        seen = self.seen
        for array in (self.start, self.length, seen.item, seen.event_type, seen.time_ms):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def groups(self, events: int, chance: np.random.Generator) -> list[NDArray[np.int64]]:
        """All windows once, as batches for `batch`: those of like length together.

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
        return [groups[group] for group in chance.permutation(len(groups))]

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The windows ``rows`` [n]."""
        slots = int(self.length[rows].max(initial=1))
        filled, events = self._events(rows, slots)
        target = np.zeros(filled.shape, np.int64)
        target[filled] = self.seen.item[events + 1]
        return Batch(features(self.histories(rows, slots), self.seen.catalogue), target)

    def histories(self, rows: NDArray[np.int64], slots: int, excluded_slots: int = 0) -> Histories:
        """The newest ``slots`` events of the windows ``rows`` [n]; nothing is excluded."""
        filled, events = self._events(rows, slots)
        return Histories(
            lengths=filled.sum(axis=1),
            item_hash=self.seen.catalogue.hashes[self.seen.item[events]],
            event_type=self.seen.event_type[events],
            event_time=self.seen.time_ms[events],
            excluded_lengths=np.zeros(len(rows), np.int64),
            excluded=np.empty(0, np.uint64),
            slots=slots,
            excluded_slots=excluded_slots,
        )

    def _events(
        self, rows: NDArray[np.int64], slots: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of ``slots`` places are filled, bool [n, slots], right-aligned, and by what [E]."""
        length, place = self.length[rows], np.arange(slots)
        filled = place >= slots - length[:, None]
        places = (self.start[rows] + length - slots)[:, None] + place
        return filled, places[filled]
