"""How far the lists of two engines differ, and how sure a mean is.

``first``, ``second``: uint64 [n, k] item hashes, each user's best first, 0 where a list has ended.
Two engines number their items differently; hashes are the same in both. No list repeats an item.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PERSISTENCE = 0.9
"""p of `rank_biased_overlap`: its first 10 places carry 86 % of the weight."""
RESAMPLES = 1000
LEVEL = 0.95
"""Of bootstrap intervals."""
DECILES = 10


def shared_by_depth(first: Hashes, second: Hashes) -> Ints:
    """X_d: how many items the first d places of both lists have in common, int64 [n, k].

    >>> first = np.array([[1, 2, 3]], np.uint64)
    >>> shared_by_depth(first, np.array([[2, 1, 4]], np.uint64)).tolist()
    [[0, 2, 2]]
    """
    k = first.shape[1]
    same = (first[:, :, None] == second[:, None, :]) & (first[:, :, None] > 0)
    # A pair at places i and j is in common from depth max(i, j) on.
    depth = np.maximum.outer(np.arange(k), np.arange(k))
    found = np.stack([same[:, depth == d].sum(axis=1) for d in range(k)], axis=1)
    shared: Ints = np.cumsum(found, axis=1)
    return shared


def overlap_at_k(first: Hashes, second: Hashes) -> Floats:
    """|A and B| / max(|A|, |B|) of each user's two lists [n]; of two empty ones 1.

    >>> lists = np.array([[1, 2, 3], [1, 2, 0]], np.uint64)
    >>> overlap_at_k(lists, np.array([[3, 1, 4], [2, 1, 0]], np.uint64)).round(3).tolist()
    [0.667, 1.0]
    """
    longest = np.maximum(_lengths(first), _lengths(second))
    shared = shared_by_depth(first, second)[:, -1]
    return np.where(longest > 0, shared / np.maximum(longest, 1), 1.0)


def rank_biased_overlap(first: Hashes, second: Hashes, p: float = PERSISTENCE) -> Floats:
    """RBO_EXT of each user's two lists [n], in 0..1: the top counts most.

    A reader goes on from each place to the next with chance p; RBO is the share that the two lists
    have in common up to where he stops, on average. What lies below their ends is extrapolated:
    they are taken to agree there as far as they do at the end. With s <= l the two lengths (in
    most cases both k) it is equation 32 of Webber, Moffat and Zobel, A similarity measure for
    indefinite rankings, ACM TOIS 28(4), 2010:

        (1-p)/p * [sum over d = 1..l of X_d/d * p^d + sum over d = s+1..l of X_s (d-s)/(s d) * p^d]
        + [(X_l - X_s)/l + X_s/s] * p^l

    Two empty lists have 1, an empty one and another 0.

    >>> one = np.array([[1, 2]], np.uint64)
    >>> rank_biased_overlap(one, one).round(6).tolist()
    [1.0]
    >>> swapped = np.array([[2, 1]], np.uint64)  # (0.1/0.9) * (0/1 * 0.9 + 2/2 * 0.81) + 2/2 * 0.81
    >>> rank_biased_overlap(one, swapped).round(6).tolist()
    [0.9]
    """
    depth = np.arange(1, first.shape[1] + 1)
    lengths = np.sort(np.stack([_lengths(first), _lengths(second)]), axis=0)
    short, long = lengths[0], lengths[1]
    shared = shared_by_depth(first, second)
    at_short, at_long = (_at_depth(shared, length) for length in (short, long))
    agreement = at_short / np.maximum(short, 1)
    below = np.maximum(depth - short[:, None], 0) * agreement[:, None]
    within = np.where(depth <= long[:, None], (shared + below) / depth * p**depth, 0.0)
    tail = ((at_long - at_short) / np.maximum(long, 1) + agreement) * p**long
    found = (1 - p) / p * within.sum(axis=1) + tail
    return np.where(long > 0, np.clip(found, 0.0, 1.0), 1.0)


def total_variation(first: Ints, second: Ints) -> float:
    """Half the sum of |p_i - q_i|: the share of exposure that went to other groups, in 0..1.

    >>> total_variation(np.array([3, 1, 0]), np.array([1, 1, 2]))
    0.5

    Args:
        first, second: int64 [m], exposures of each group; p and q are their shares. If only one of
            them shows anything, it is 1.
    """
    totals = first.sum(), second.sum()
    if not all(totals):
        return float(any(totals))
    return float(np.abs(first / totals[0] - second / totals[1]).sum() / 2)


def popularity_deciles(popularity: Floats) -> Ints:
    """The decile of each item, int64 [I] in 1..10: cut where a tenth of all events is reached.

    1 are the few most popular items. With c_i the events of all items up to and with item i, by
    falling popularity x, its decile is 1 + floor(10 (c_i - x_i/2) / c_I). So an engine that shows
    items as often as people meet them shows each decile alike.

    >>> popularity_deciles(np.array([1.0, 2.0, 1.0])).tolist()  # 2/8, 5/8 and 7/8 of all events
    [7, 3, 9]

    Args:
        popularity: float64 [I], events of each item.
    """
    order = np.argsort(-popularity, kind="stable")
    falling = popularity[order]
    middle = np.cumsum(falling) - falling / 2
    deciles = np.empty(len(order), np.int64)
    deciles[order] = 1 + DECILES * middle / max(falling.sum(), 1e-300)
    return np.minimum(deciles, DECILES)


def bootstrap_interval(
    values: Floats, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Percentile interval of the mean of each column, float64 [m] low and high.

    Users are drawn with replacement, whole rows at a time. The interval of a difference of two
    engines is that of a column of differences user by user, which is a paired one.

    >>> low, high = bootstrap_interval(np.array([[0.0, 5.0], [1.0, 5.0]] * 50), seed=1)
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.4, 5.0], [0.6, 5.0])

    Args:
        values: float64 [n, m], of n users.
        seed: same seed, same interval.
        resamples: how many times n users are drawn.
        level: share of the resampled means inside.
    """
    chance = np.random.default_rng(seed)
    users = len(values)
    # Draw by draw, so that memory is that of the values, not a thousand times as much.
    means = np.array(
        [values[chance.integers(users, size=users)].mean(axis=0) for _ in range(resamples)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _lengths(lists: Hashes) -> Ints:
    lengths: Ints = (lists > 0).sum(axis=1)
    return lengths


def _at_depth(shared: Ints, depth: Ints) -> Ints:
    """X_d [n] at a depth of each user's own, 0 at depth 0."""
    place = np.maximum(depth - 1, 0)[:, None]
    return np.where(depth > 0, np.take_along_axis(shared, place, axis=1)[:, 0], 0)
