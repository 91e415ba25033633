"""Profiles -> tensors. The one features function of training, evaluation and the job.

    newest events of a user    a b c            (oldest first)
    item                       0 0 0 a b c      (right-aligned, so the newest item is always last)

Nothing here reads the clock: gaps are relative to the newest event of the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from schemas.profile import HISTORY_SLOTS, TYPE_SLOTS

FEATURES: dict[str, Literal["int64", "float32"]] = {
    "item": "int64",
    "event_type": "int64",
    "gap_s": "float32",
    "excluded": "int64",
}
"""Name and dtype of every feature; an engine's inputs are a subset."""


@dataclass(frozen=True, eq=False)
class Histories:
    """What engines see of ``n`` profiles, one user after the other: E events, S excluded items.

    Args:
        lengths: int64 [n] events of each user, at most ``slots``.
        item_hash: uint64 [E], each user's oldest first.
        event_type: uint8 [E].
        event_time: int64 [E] ms since 1970.
        excluded_lengths: int64 [n] excluded items of each user, at most ``excluded_slots``.
        excluded: uint64 [S] item hashes.
        slots: H, how many of a user's newest events are seen.
        excluded_slots: X.
    """

    lengths: NDArray[np.int64]
    item_hash: NDArray[np.uint64]
    event_type: NDArray[np.uint8]
    event_time: NDArray[np.int64]
    excluded_lengths: NDArray[np.int64]
    excluded: NDArray[np.uint64]
    slots: int
    excluded_slots: int

    @classmethod
    def of(cls, profiles: NDArray[np.void], slots: int = HISTORY_SLOTS) -> Histories:
        """The newest ``slots`` events of packed profiles.

        Args:
            profiles: PROFILE_DTYPE [n], or the same fields with another number of excluded ones.
            slots: H.
        """
        history = profiles["history"]
        length = profiles["history_len"].astype(np.int64)
        excluded_length = profiles["excluded_len"].astype(np.int64)
        excluded_slots = profiles["excluded"].shape[1]
        place = np.arange(history.shape[1])
        kept = (place < length[:, None]) & (place >= length[:, None] - slots)
        return cls(
            lengths=np.minimum(length, slots),
            # Column by column: a mask over whole records would copy them all.
            item_hash=history["item_hash"][kept],
            event_type=history["event_type"][kept],
            event_time=history["event_time"][kept],
            excluded_lengths=excluded_length,
            excluded=profiles["excluded"][np.arange(excluded_slots) < excluded_length[:, None]],
            slots=slots,
            excluded_slots=excluded_slots,
        )


def features(
    histories: Histories, catalogue: Catalogue
) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
    """The inputs of an engine.

    Args:
        histories: of ``n`` users.
        catalogue: of the engine that is to score them.

    Returns:
        ``item`` int64 [n, H] catalogue index, oldest to newest, 0 at pads and unknown items;
        ``event_type`` int64 [n, H] in 0..15, 0 at pads;
        ``gap_s`` float32 [n, H] seconds before the newest event, 0 at pads;
        ``excluded`` int64 [n, X] catalogue index, 0 at pads and unknown items.
    """
    filled = np.arange(histories.slots) >= histories.slots - histories.lengths[:, None]
    listed = np.arange(histories.excluded_slots) < histories.excluded_lengths[:, None]
    kinds = histories.event_type
    return {
        "item": _spread(catalogue.lookup(histories.item_hash), filled, np.int64),
        "event_type": _spread(np.where(kinds < TYPE_SLOTS, kinds, 0), filled, np.int64),
        "gap_s": _spread(_gaps_ms(histories) / 1000, filled, np.float32),
        "excluded": _spread(catalogue.lookup(histories.excluded), listed, np.int64),
    }


def _spread(
    values: NDArray[Any], places: NDArray[np.bool_], dtype: type[np.generic]
) -> NDArray[Any]:
    """Values [E] at the E True places of a mask [n, H], in order; 0 elsewhere."""
    tensor = np.zeros(places.shape, dtype)
    tensor[places] = values
    return tensor


def _gaps_ms(histories: Histories) -> NDArray[np.int64]:
    """How long before its user's newest event each one was, [E]."""
    ends = np.cumsum(histories.lengths)
    some = histories.lengths > 0
    newest_ms = np.repeat(histories.event_time[ends[some] - 1], histories.lengths[some])
    gaps: NDArray[np.int64] = newest_ms - histories.event_time
    return gaps
