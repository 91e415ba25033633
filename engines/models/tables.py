"""What an engine's inputs say about the items: rows or columns 0..C-1, 0 being the unknown item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VECTORS = ("item_vectors", "content_vectors")
"""The tables that hold a vector for each item, a row each."""
SPARE = 8
"""One row in so many is free, for items to come."""


def with_spare(rows: int) -> int:
    """So many rows, and some for items to come."""
    return rows + rows // SPARE


def item_tables(
    vectors: NDArray[np.float32], popularity: NDArray[np.float64], capacity: int
) -> dict[str, NDArray[Any]]:
    """What every engine with tables has.

    Args:
        vectors: float32 [I+1, D].
        popularity: float64 [I+1].
        capacity: C, at least I+1.

    Returns:
        ``item_vectors`` [C, D]; ``available`` [1, C], 0 for an item that can be listed and else
        -inf; ``item_popularity`` [1, C], share of the most popular item's events.
    """
    available = np.full((1, capacity), -np.inf, np.float32)
    available[0, 1 : len(vectors)] = 0
    return {
        "item_vectors": table_rows(vectors, capacity),
        "available": available,
        "item_popularity": shares(popularity, capacity),
    }


def table_rows(values: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Rows [I+1, ...] and then zeros, [C, ...]."""
    table = np.zeros((capacity, values.shape[1]), values.dtype)
    table[: len(values)] = values
    return table


def shares(values: NDArray[np.float64], capacity: int) -> NDArray[np.float32]:
    """Each value as a share of the highest, [1, C]."""
    row = np.zeros((1, capacity), np.float32)
    row[0, : len(values)] = values / max(values.max(), 1e-9)
    return row
