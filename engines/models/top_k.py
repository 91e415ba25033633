"""The k best of a row as ONNX nodes, in two steps: the best groups, then the best of those.

    score [B, W] ─▶ groups [B, W/G, G] ─ max ─▶ the k best groups, by index ─▶ candidates [B, k * G]
                                                                          └─▶ the k best of these

The k best items lie in the k groups of highest maximum: an item outside of them has k better ones,
one in each. Groups are put in order of index before their items are compared, so a tie goes to the
lower index in both steps, as one ``TopK`` over the whole row would have it; the result is the same.
At 2,000 items it takes two thirds of that one's time, at 12,000 a quarter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORT_ROW = 512
"""Up to here one ``TopK`` over the row is as fast."""
TILE = 1 << 17
"""Scores that one row is held of at once: 128 MiB for 256 users, whatever the catalogue."""
TILE_STEP = 1024
"""A multiple of every group size."""

Constants = dict[str, NDArray[Any]]


def group_size(width: int, k: int) -> int:
    """G, a power of two near the one that is quickest: W/G groups, at least k, and k * G items.

    Half of it would have the fewest compared, but a group takes longer than an item does: most
    items are soon seen to be too low. 1 where one step is as fast.

    >>> [group_size(width, 10) for width in (500, 2001, 12_000, 100_000)]
    [1, 32, 64, 256]
    """
    if width <= SHORT_ROW:
        return 1
    doublings = math.log2(width / k)
    return 1 << min(round(doublings / 2 + 1), int(doublings))


def padded(width: int, k: int) -> int:
    """W: the least width of whole groups that holds ``width`` scores; pads are to be -inf."""
    size = group_size(width, k)
    return -(-width // size) * size


def tiles_of(width: int) -> int:
    """How many equal parts of at most TILE scores a row of ``capacity(...)`` scores has."""
    return -(-width // TILE)


def capacity(width: int, k: int) -> int:
    """The least C that holds ``width`` scores and can be searched: in groups, or tiles of groups.

    >>> [capacity(width, 10) for width in (500, 12_001, 200_000)]
    [500, 12032, 200704]
    """
    tiles = tiles_of(width)
    if tiles == 1:
        return padded(width, k)
    step = tiles * TILE_STEP
    return -(-width // step) * step


def top_k(score: str, batch: int, width: int, k: int) -> tuple[list[Any], Constants]:
    """Nodes that end in ``scores`` float32 [B, k], falling, and ``items`` int64 [B, k].

    Args:
        score: name of a value, float32 [B, W] with W = ``padded(width, k)``.
        batch: B.
        width: how many scores there are without the pads, at least k.
        k: how many.

    Returns:
        the nodes, and the constants that they refer to.
    """
    from onnx.helper import make_node as node

    size = group_size(width, k)
    if size == 1:
        return [node("TopK", [score, "k"], ["scores", "items"], axis=1)], {"k": np.array([k])}
    constants = {
        "k": np.array([k]),
        "grouped_shape": np.array([batch, padded(width, k) // size, size]),
        "group_axis": np.array([2]),
        "candidate_shape": np.array([batch, k * size]),
        "group_size": np.array(size),
    }
    nodes = [
        node("Reshape", [score, "grouped_shape"], ["grouped"]),
        node("ReduceMax", ["grouped", "group_axis"], ["group_best"], keepdims=0),
        node("TopK", ["group_best", "k"], ["best_maxima", "best_groups"], axis=1),
        node("TopK", ["best_groups", "k"], ["group", "group_places"], axis=1, largest=0),
        node("Unsqueeze", ["group", "group_axis"], ["group_index"]),
        node("GatherND", ["grouped", "group_index"], ["candidates_3d"], batch_dims=1),
        node("Reshape", ["candidates_3d", "candidate_shape"], ["candidates"]),
        node("TopK", ["candidates", "k"], ["scores", "place"], axis=1),
        # place = nth group * G + place in group; item = group * G + place in group
        node("Div", ["place", "group_size"], ["nth"]),
        node("GatherElements", ["group", "nth"], ["item_group"], axis=1),
        node("Sub", ["item_group", "nth"], ["groups_skipped"]),
        node("Mul", ["groups_skipped", "group_size"], ["items_skipped"]),
        node("Add", ["place", "items_skipped"], ["items"]),
    ]
    return nodes, constants
