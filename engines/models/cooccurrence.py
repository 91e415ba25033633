"""Directed item-to-item co-occurrence: what came soon after the items that a user saw last.

Fit:    c(i, j) = sum of 1/sqrt(d) over all places where j came d <= WINDOW events after i in one
        user's history; w(i, j) = c(i, j) / sqrt(sum over j of c(i, j)), so that an item seen often
        does not drown the others; each item keeps its NEIGHBOURS heaviest successors.
Score:  s(j) = prior(j) + sum over the last LAST events (i, type) of decay^age * u(type) * w(i, j),
        age 0 being the newest event.

``prior`` is popularity, scaled to less than the least possible sum: it orders what no event speaks
for and never overtakes what one does. Items are numbered by falling popularity, so that a tie,
which goes to the lower index, goes to the more popular item.

The constants were chosen on the second to last items of S3-Rec Beauty, the last three left out of
the fit: HR@10 / NDCG@10 .0986 / .0628, against .0953 / .0604 with a window of 5 and weights of 1/d.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models.cooccurrence_graph import (
    CHANNELS,
    DECAY,
    EVENT_WEIGHTS,
    LAST,
    export,
    input_widths,
)
from schemas.errors import EngineError
from schemas.profile import EXCLUDED_SLOTS

KIND = "cooccurrence"
WINDOW = 10
NEIGHBOURS = 50
BATCH = 32
"""As quick as 64 where batches are full (13 us a list at 2,000 items, two shared cores), and for a
handful of users, whose batch is mostly padding, it takes two thirds of that one's time."""
K = 10
MAX_PENDING = 1 << 22  # pairs held before they are summed: some 200 MB


@dataclass(frozen=True, eq=False)
class CooccurrenceModel:
    """A fitted model.

    Args:
        catalogue: the I items, most popular first.
        neighbours: int32 [I+1, N] heaviest successors of each item, then zeros.
        weights: float32 [I+1, N] their weights, falling, then zeros.
        training: range and size of the log.
    """

    catalogue: Catalogue
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32]
    training: Training

    def draft(
        self, *, batch: int = BATCH, k: int = K, excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""
        return Draft(
            model=export(
                self.neighbours,
                self.weights,
                self.catalogue.popularity,
                batch=batch,
                k=k,
                excluded_slots=excluded_slots,
            ),
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=input_widths(excluded_slots),
            channels=CHANNELS,
            kind=KIND,
            training=self.training,
            parameters={"window": WINDOW, "neighbours": NEIGHBOURS, "last": LAST, "decay": DECAY},
        )


def fit(
    events: Iterable[tuple[str, str, int, int]],
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    log: str = "",
) -> CooccurrenceModel:
    """Fit on any event log.

    Args:
        events: (user_id, item_id, event type by Avro enum order, event time in ms), in any order;
            at equal times of one user the order of arrival counts.
        attributes: item id -> title, category, price, provider, as far as known.
        log: what to call the log in the manifest.

    Raises:
        EngineError: no event speaks for an item, or two item ids share a hash.
    """
    user, item, time_ms, item_ids, users = _read(events)
    counts = np.bincount(item, minlength=len(item_ids))
    by_popularity = sorted(range(len(item_ids)), key=lambda i: (-counts[i], item_ids[i]))
    index = np.empty(len(item_ids), np.int64)
    index[by_popularity] = np.arange(1, len(item_ids) + 1)
    catalogue = Catalogue.build(
        [item_ids[i] for i in by_popularity], counts[by_popularity], attributes
    )
    order = np.lexsort((time_ms, user))
    neighbours, weights = _neighbours(user[order], index[item[order]], len(item_ids))
    training = Training(
        log=log,
        events=len(item),
        users=users,
        first_event_time=int(time_ms.min()),
        last_event_time=int(time_ms.max()),
    )
    return CooccurrenceModel(catalogue, neighbours, weights, training)


def _read(
    events: Iterable[tuple[str, str, int, int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[str], int]:
    """User code, item code and time [E] of the events that speak for an item; ids by item code."""
    user, item, time_ms = array("q"), array("q"), array("q")
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    speaks = (EVENT_WEIGHTS > 0).tolist()
    for user_id, item_id, event_type, event_time in events:
        if speaks[event_type]:
            user.append(users.setdefault(user_id, len(users)))
            item.append(items.setdefault(item_id, len(items)))
            time_ms.append(event_time)
    if not items:
        raise EngineError(
            "there is nothing to learn from",
            expected="at least one view, click, cart, purchase, rating, like or share",
            received="none",
            fix="name another log",
        )
    u, i, t = (np.frombuffer(column, np.int64) for column in (user, item, time_ms))
    return u, i, t, list(items), len(users)


def _neighbours(
    user: NDArray[np.int64], item: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The heaviest successors [I+1, N] of every item and their weights.

    Args:
        user, item: [E] events sorted by user, then time; items 1..I.
        size: I.
    """
    moved = np.ones(len(item), bool)  # a repeat says nothing new and must not use up the window
    moved[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    keys, sums = _pair_sums(user[moved], item[moved], size + 1)
    row, column = np.divmod(keys, size + 1)
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


def _pair_sums(
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
