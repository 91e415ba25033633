"""Lists that differ are told from lists that are the same, and a near tie from a wide swap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.backends.base import RankedBatch
from engines.parity import Parity, parity

ENDED = -np.inf


def ranked(*lists: Sequence[tuple[int, float]]) -> RankedBatch:
    """One user a list of (item, score)."""
    items, scores = np.moveaxis(np.array(lists), 2, 0)
    return RankedBatch(items.astype(np.int64), scores.astype(np.float32), items.astype(np.int64))


def test_the_same_lists_are_equal() -> None:
    ours = ranked([(1, 9), (2, 5)], [(3, 7), (0, ENDED)])
    assert parity(ours, ours) == Parity(1.0, 0.0)


def test_a_near_tie_that_changed_places_is_told_with_its_gap() -> None:
    ours = ranked([(1, 9), (2, 8.75)], [(3, 7), (4, 1)])
    theirs = ranked([(2, 8.875), (1, 8.75)], [(3, 7), (4, 1)])
    assert parity(ours, theirs) == Parity(0.5, 0.25)


@pytest.mark.parametrize(
    "theirs",
    [
        [(2, 9), (1, 5), (3, 1)],  # scores place by place are the same: a swap all the same
        [(1, 9), (3, 5), (2, 1)],
        [(1, 9), (7, 5), (3, 1)],  # an item that ours has not
        [(1, 9), (2, 5), (0, ENDED)],  # one fewer
    ],
)
def test_a_swap_over_a_wide_gap_is_told(theirs: list[tuple[int, float]]) -> None:
    """The negative control."""
    found = parity(ranked([(1, 9), (2, 5), (3, 1)]), ranked(theirs))
    assert found.equal_lists == 0
    assert found.widest_gap >= 4


def test_other_scores_of_the_same_items_are_no_swap() -> None:
    assert parity(ranked([(1, 9), (2, 5)]), ranked([(1, 8), (2, 6)])) == Parity(1.0, 0.0)


@given(st.permutations(range(1, 7)), st.permutations(range(1, 7)))
def test_it_is_the_same_from_either_side(one: list[int], other: list[int]) -> None:
    falling = [6.0, 5.5, 4.0, 3.0, 1.0, 0.0]
    ours = ranked(list(zip(one, falling, strict=True)))
    theirs = ranked(list(zip(other, falling, strict=True)))
    assert parity(ours, theirs) == parity(theirs, ours)
    assert (parity(ours, theirs).widest_gap > 0) == (one != other)
