"""Packed profiles -> tensors. The one features function of training, evaluation and the job.

    history of a profile   a b c . . .     (oldest first, then zeros)
    item                   0 0 0 a b c     (right-aligned, so the newest item is always last)

Nothing here reads the clock: gaps are relative to the newest event of the history.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from schemas.profile import TYPE_SLOTS

FEATURES: dict[str, Literal["int64", "float32"]] = {
    "item": "int64",
    "event_type": "int64",
    "gap_s": "float32",
    "excluded": "int64",
}
"""Name and dtype of every feature; an engine's inputs are a subset."""


def features(
    profiles: NDArray[np.void], catalogue: Catalogue
) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
    """The inputs of an engine for ``n`` profiles.

    Args:
        profiles: PROFILE_DTYPE [n], or the same fields with other numbers of slots: H history and
            X excluded ones (50 and 64 in PROFILE_DTYPE).
        catalogue: of the engine that is to score them.

    Returns:
        ``item`` int64 [n, H] catalogue index, oldest to newest, 0 at pads and unknown items;
        ``event_type`` int64 [n, H] in 0..15, 0 at pads;
        ``gap_s`` float32 [n, H] seconds before the newest event, 0 at pads;
        ``excluded`` int64 [n, X] catalogue index, 0 at pads and unknown items.
    """
    history = profiles["history"]
    slots = np.arange(history.shape[1])
    length = profiles["history_len"].astype(np.int64)[:, None]
    filled = slots < length
    aligned = slots >= history.shape[1] - length

    def right(column: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
        tensor = np.zeros(filled.shape, dtype)
        tensor[aligned] = column
        return tensor

    # Column by column: a mask over whole records would copy them all.
    event_type = history["event_type"][filled]
    time_ms = history["event_time"]
    newest_ms = np.take_along_axis(time_ms, np.maximum(length - 1, 0), axis=1)
    return {
        "item": right(catalogue.lookup(history["item_hash"][filled]), np.int64),
        "event_type": right(np.where(event_type < TYPE_SLOTS, event_type, 0), np.int64),
        "gap_s": right((newest_ms - time_ms)[filled] / 1000, np.float32),
        "excluded": _excluded(profiles, catalogue),
    }


def _excluded(profiles: NDArray[np.void], catalogue: Catalogue) -> NDArray[np.int64]:
    hashes = profiles["excluded"]
    filled = np.arange(hashes.shape[1]) < profiles["excluded_len"][:, None]
    excluded = np.zeros(hashes.shape, np.int64)
    excluded[filled] = catalogue.lookup(hashes[filled])
    return excluded
