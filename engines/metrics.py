"""List metrics. Each takes the places at which the held-out items were found, or whole lists.

``places``: int64 [n], the 1-based place of each user's held-out item in his list, 0 if not in it.
``items``: int64 [n, k] catalogue indices, best first, 0 where a list has ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def places_of(targets: Ints, items: Ints) -> Ints:
    """Where each target stands in its list.

    >>> places_of(np.array([7, 7, 0]), np.array([[5, 7], [5, 6], [5, 0]])).tolist()
    [2, 0, 0]

    Args:
        targets: int64 [n]; 0 is an item that the engine does not know, never found.
    """
    found = (items == targets[:, None]) & (targets[:, None] > 0)
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def hits(places: Ints, k: int) -> Floats:
    """Of each user [n]: 1 if the item is among the first k, else 0.

    >>> hits(np.array([1, 3, 0, 11]), k=10).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    return ((places >= 1) & (places <= k)).astype(np.float64)


def gains(places: Ints, k: int) -> Floats:
    """Of each user [n]: 1 / log2(place + 1) within the first k, else 0.

    >>> gains(np.array([1, 3, 0, 11]), k=10).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    found: Floats = hits(places, k) / np.log2(np.maximum(places, 1) + 1)
    return found


def hit_rate(places: Ints, k: int) -> float:
    """Share of users whose item is among the first k: mean of [1 <= place <= k].

    >>> hit_rate(np.array([1, 3, 0, 11]), k=10)
    0.5
    """
    return float(np.mean(hits(places, k)))


def ndcg(places: Ints, k: int) -> float:
    """Mean of 1 / log2(place + 1) within the first k, else 0; the ideal gain of one item is 1.

    >>> ndcg(np.array([1, 3, 0, 11]), k=10)  # (1 + 1/2 + 0 + 0) / 4
    0.375
    """
    return float(np.mean(gains(places, k)))


def mrr(places: Ints) -> float:
    """Mean reciprocal rank: mean of 1 / place over the whole list, else 0.

    >>> mrr(np.array([1, 4, 0, 0]))  # (1 + 1/4 + 0 + 0) / 4
    0.3125
    """
    return float(np.mean(np.where(places >= 1, 1 / np.maximum(places, 1), 0.0)))


def exposure(items: Ints, catalogue_size: int) -> Ints:
    """How many lists show each item, int64 [I].

    >>> exposure(np.array([[1, 2], [1, 0]]), catalogue_size=3).tolist()
    [2, 1, 0]
    """
    return np.bincount(items.ravel(), minlength=catalogue_size + 1)[1:]


def coverage(exposed: Ints) -> float:
    """Share of the catalogue that at least one list shows.

    >>> coverage(np.array([2, 1, 0, 0]))
    0.5
    """
    return float(np.mean(exposed > 0))


def gini(exposed: Ints) -> float:
    """Inequality of exposure: 0 if all items are shown alike, (I - 1) / I if one has it all.

    With exposures x_1 <= ... <= x_I: sum of (2i - I - 1) x_i / (I * sum of x_i).

    >>> gini(np.array([3, 3, 3, 3])), gini(np.array([0, 12, 0, 0]))
    (0.0, 0.75)
    """
    x = np.sort(exposed)
    weights = 2 * np.arange(1, len(x) + 1) - len(x) - 1
    return float((weights * x).sum() / (len(x) * max(x.sum(), 1)))


def novelty(exposed: Ints, popularity: NDArray[np.float64]) -> float:
    """Mean self-information of what is shown, in bits: -log2 of the item's share of all events.

    >>> novelty(np.array([2, 1]), np.array([2.0, 2.0]))  # every item holds half of all events
    1.0

    Args:
        exposed: int64 [I].
        popularity: float64 [I]; an item that nobody has met counts as met once.
    """
    bits = -np.log2(np.maximum(popularity, 1) / popularity.sum())
    return float((bits * exposed).sum() / max(exposed.sum(), 1))
