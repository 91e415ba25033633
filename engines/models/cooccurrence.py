"""Directed item-to-item co-occurrence: what came soon after the items that a user saw last.

Fit:    c(i, j) = sum of 1/sqrt(d) over all places where j came d <= WINDOW events after i in one
        user's history; w(i, j) = c(i, j) / sqrt(sum over j of c(i, j)), so that an item seen often
        does not drown the others; each item keeps its NEIGHBOURS heaviest successors.
Score:  s(j) = prior(j) + sum over the last LAST events (i, type) of decay^age * u(type) * w(i, j),
        age 0 being the newest event.

``prior`` is popularity, scaled to less than the least possible sum: it orders what no event speaks
for and never overtakes what one does.

The constants were chosen on the second to last items of S3-Rec Beauty, the last three left out of
the fit: HR@10 / NDCG@10 .0986 / .0628, against .0953 / .0604 with a window of 5 and weights of 1/d.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models import cooccurrence_candidates, cooccurrence_graph
from engines.models.cooccurrence_candidates import Tables
from engines.models.cooccurrence_graph import CHANNELS, DECAY, LAST, input_widths
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from schemas.profile import EXCLUDED_SLOTS

KIND = "cooccurrence"
WINDOW = 10
NEIGHBOURS = 50
BATCH = 32
"""As quick as 64 where batches are full (13 us a list at 2,000 items, two shared cores), and for a
handful of users, whose batch is mostly padding, it takes two thirds of that one's time."""
K = 10
WHOLE_ROW = 50_000
"""Items up to which the scores of all are as fast as those of what could be listed: 2 ms for 32
users (one of two shared cores); at 12,000 items 0.8, at 131,000 13."""
MAX_PENDING = 1 << 22  # pairs held before they are summed: some 200 MB


@dataclass(frozen=True, eq=False)
class CooccurrenceModel:
    """A fitted model.

    Args:
        catalogue: the I items, most popular first.
        neighbours: int32 [I+1, N] heaviest successors of each item, then zeros.
        weights: float32 [I+1, N] their weights, falling, then zeros.
        popularity: float64 [I+1], 0 at 0.
        training: range and size of the log.
    """

    catalogue: Catalogue
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32]
    popularity: NDArray[np.float64]
    training: Training

    def draft(
        self, *, batch: int = BATCH, k: int = K, excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""
        model, tables = self._exported(batch=batch, k=k, excluded_slots=excluded_slots)
        return Draft(
            model=model,
            tables=tables,
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=input_widths(excluded_slots),
            channels=CHANNELS,
            kind=KIND,
            training=self.training,
            parameters={"window": WINDOW, "neighbours": NEIGHBOURS, "last": LAST, "decay": DECAY},
        )

    def _exported(self, **shapes: int) -> tuple[bytes, Tables]:
        """The serialised model, and the tables that it reads."""
        neighbours, weights, popularity = self.neighbours, self.weights, self.popularity
        if len(popularity) <= WHOLE_ROW:
            return cooccurrence_graph.export(neighbours, weights, popularity, **shapes), {}
        tables = cooccurrence_candidates.tables_of(neighbours, weights, popularity)
        return cooccurrence_candidates.export(tables, **shapes), tables


def fit(seen: Interactions, plan: Plan | None = None) -> CooccurrenceModel:
    """Fit on a log; a plan has nothing for it to choose."""
    neighbours, weights = _neighbours(seen.user, seen.item, len(seen.catalogue))
    return CooccurrenceModel(seen.catalogue, neighbours, weights, seen.popularity, seen.training)


def _neighbours(
    user: NDArray[np.int64], item: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The heaviest successors [I+1, N] of every item and their weights.

    Args:
        user, item: [E] events sorted by user, then time; items 1..I.
        size: I.
    """
    row, column, sums = pair_sums(user, item, size)
    sums /= np.sqrt(np.bincount(row, sums))[row]
    order = np.lexsort((column, -sums, row))
    row, column, sums = row[order], column[order], sums[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < NEIGHBOURS
    width = int(rank[kept].max(initial=0)) + 1
    neighbours = np.zeros((size + 1, width), np.int32)
    weights = np.zeros((size + 1, width), np.float32)
    neighbours[row[kept], rank[kept]] = column[kept]
    weights[row[kept], rank[kept]] = sums[kept]
    return neighbours, weights


def pair_sums(
    user: NDArray[np.int64], item: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """c(i, j) of every pair that has any: i, j and the sum, [P] each, by rising i, then j.

    Args:
        user, item: [E] events sorted by user, then time; items 1..I.
        size: I.
    """
    moved = np.ones(len(item), bool)  # a repeat says nothing new and must not use up the window
    moved[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    keys, sums = _keyed_sums(user[moved], item[moved], size + 1)
    row, column = np.divmod(keys, size + 1)
    return row, column, sums


def _keyed_sums(
    user: NDArray[np.int64], item: NDArray[np.int64], base: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distinct keys i * base + j, rising, and the sum of 1/sqrt(d) over the places of each pair."""
    keys: NDArray[np.int64] = np.empty(0, np.int64)
    sums: NDArray[np.float64] = np.empty(0)
    step = MAX_PENDING // WINDOW
    for start in range(0, len(item), step):
        all_keys, all_sums = [keys], [sums]
        for distance in range(1, WINDOW + 1):
            first = slice(start, max(start, min(start + step, len(item) - distance)))
            second = slice(first.start + distance, first.stop + distance)
            pair = (user[first] == user[second]) & (item[first] != item[second])
            all_keys.append(item[first][pair] * base + item[second][pair])
            all_sums.append(np.full(len(all_keys[-1]), distance**-0.5))
        keys, inverse = np.unique(np.concatenate(all_keys), return_inverse=True)
        # Without any pair bincount would count, in integers.
        sums = np.bincount(inverse, np.concatenate(all_sums), len(keys)).astype(np.float64)
    return keys, sums
