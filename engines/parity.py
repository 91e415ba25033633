"""Whether two runtimes make the same lists; and if not, how near what changed places is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import RankedBatch


@dataclass(frozen=True)
class Parity:
    """How the lists of one runtime stand to those of another.

    Args:
        equal_lists: share of the users with the same items in the same order, 0 to 1.
        widest_gap: of all places with different items, the largest difference of score between
            the two, by whichever runtime or across both; 0 without such a place. A small one is a
            near tie, which rounding decides.
    """

    equal_lists: float
    widest_gap: float


def parity(ours: RankedBatch, theirs: RankedBatch) -> Parity:
    """The lists of the same users by two runtimes, held against each other.

    Where the items a and b stand in one place of ours and of theirs, the gap is the largest of
    |ours(a) - ours(b)|, |theirs(a) - theirs(b)| and |ours(a) - theirs(b)|. An item that a list does
    not hold has at most the score of its last place, and counts with that.

    Args:
        ours, theirs: [n, k], n of 1 or more.
    """
    moved = ours.items != theirs.items
    gaps = [
        _gap(ours.scores, theirs.scores),
        _gap(ours.scores, _score_in(ours, theirs.items)),
        _gap(theirs.scores, _score_in(theirs, ours.items)),
    ]
    widest = max(float(gap[moved].max(initial=0.0)) for gap in gaps)
    return Parity(float(1 - moved.any(axis=1).mean()), widest)


def _gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Difference of scores; 0 where both lists have ended, the highest number where one has."""
    with np.errstate(invalid="ignore"):
        apart: NDArray[np.float32] = np.nan_to_num(np.abs(one - other))
    return apart


def _score_in(ranked: RankedBatch, items: NDArray[np.int64]) -> NDArray[np.float32]:
    """The score of each of ``items`` [n, k] in its user's list, or else the last score there."""
    same = items[:, :, None] == ranked.items[:, None, :]
    found = np.take_along_axis(ranked.scores, same.argmax(axis=2), axis=1)
    return np.where(same.any(axis=2), found, ranked.scores[:, -1:])
